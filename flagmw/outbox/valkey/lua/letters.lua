-- Revive, forget or purge. ARGV: now, policy, what, most rows (0: any), then dead letters by id; all without any.
-- "purge" takes lane and number for each waiting entry, or "" and an id for a dead letter. Returns how many.
local what, room, done = ARGV[3], tonumber(ARGV[4]), 0

local function letter_of(id)
  local at = call('HGET', P .. 'deadids', id)
  local found = at and call('XRANGE', P .. 'dead', at, at)[1]
  if found then return at, fields(found[2]) end
end

local function revive(at, letter)
  local queued = 0
  if room > 0 then
    for _, v in ipairs(vendors()) do queued = queued + call('XLEN', stream(v)) end
    if queued >= room then return end
  end
  if told(letter.key, letter.id) then return end
  call('XDEL', P .. 'dead', at)
  call('HDEL', P .. 'deadids', letter.id)
  call('DECRBY', P .. 'deadbytes', #letter.body)
  count(letter.vendor, 'dead', -1)
  add(letter.vendor, letter.id, letter.visitor, now, letter.once, letter.key, letter.attempts, letter.aliases,
    letter.body)
  done = done + 1
end

if what == 'purge' then
  for i = 5, #ARGV, 2 do
    local v, n = ARGV[i], ARGV[i + 1]
    if v == '' then
      local at, letter = letter_of(n)
      if at then
        drop_letter(at, letter, 'PURGED')
        done = done + 1
      end
    elseif entry(v, n) then
      take_back(v, n)
      discard(v, n, 'PURGED')
      done = done + 1
    end
  end
else
  local letters = {}
  for i = 5, #ARGV do
    local at, letter = letter_of(ARGV[i])
    if at then letters[#letters + 1] = { at, letter } end
  end
  for _, found in ipairs(letters) do
    if what == 'revive' then
      revive(found[1], found[2])
    elseif letter_of(found[2].id) then
      drop_letter(found[1], found[2], 'DISCARDED')
      done = done + 1
    end
  end
end
return done
