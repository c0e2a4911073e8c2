-- Take events over from a machine's own store. ARGV: now, policy, most rows (0: any), four for `watch`, then eight for
-- each event.
-- Returns one number for each: 1 it is here (or was before), 0 there is no room.
local room = tonumber(ARGV[3])
local queued = 0
if room > 0 then
  for _, v in ipairs(vendors()) do queued = queued + call('XLEN', stream(v)) end
end

local function known(id)
  return waits(id) or call('HEXISTS', P .. 'deadids', id) == 1 or call('ZSCORE', P .. 'recent', 'i' .. id)
end

local results = {}
for i = 8, #ARGV, 8 do
  local id, v, visitor, created, once, key, again, body = unpack(ARGV, i, i + 7)
  created = tonumber(created) + ahead_s
  local result = 1
  if known(id) then
    if again == '0' then call('HINCRBY', P .. 'refused', 'DUPLICATE_KEY', 1) end
  elseif told(key, id) then
    call('HINCRBY', P .. 'refused', 'DUPLICATE_KEY', 1)
  elseif room > 0 and queued >= room then
    result = 0
  else
    -- Before anything is added, so that this is in no doubt.
    local since = once == '1' and watch(ARGV[4], ARGV[5], ARGV[6], ARGV[7]).since or -1
    local n = add(v, id, visitor, math.min(created, now), once, key, '0', '', body)
    count(v, 'accepted', 1)
    if again == '1' and created <= since then
      -- It may have been here before data went missing, and been sent.
      bury(v, n, 'AMBIGUOUS')
    else
      queued = queued + 1
    end
  end
  results[#results + 1] = result
end
return results
