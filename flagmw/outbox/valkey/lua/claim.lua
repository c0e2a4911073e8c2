-- Lease due entries of one lane. ARGV: now, policy, limit, lease_s, token, consumer, lanes to skip as JSON, and four
-- for `watch`. Returns false, nothing when it has to be asked once more, or the lane, the number of the claim if it is
-- one of what must not be sent twice ("" if not), and then seven texts for each entry.
local limit, lease_s, token, consumer, skip = tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6], skipped(ARGV[7])

local function in_doubt(n, e)
  return e.once == '1' and tonumber(n) <= watch(ARGV[8], ARGV[9], ARGV[10], ARGV[11]).doubt
end

-- As `head`, laying aside what waited too long or may have been sent; nil when nothing is due.
local function due_head(v)
  while true do
    local n, due, e, fresh = head(v, consumer)
    if not n or due > now then return nil end
    local known = fields(call('HGETALL', row_key(v, n)))
    local code = too_old(e, known) and 'TOO_OLD' or in_doubt(n, e) and 'AMBIGUOUS'
    if not code then return n, due, e, fresh, known end
    if fresh then take_fresh(v, n, e, consumer) end
    bury(v, n, code)
  end
end

local best, best_due, best_n
for _, v in ipairs(vendors()) do
  if not skip[v] then
    local n, due = due_head(v)
    if n and (not best or due < best_due or (due == best_due and tonumber(n) < best_n)) then
      best, best_due, best_n = v, due, tonumber(n)
    end
  end
end
if limit < 1 then return false end
if not best then return stopped and {} or false end

local answer, taken = { best, '' }, {}
while #taken < limit do
  local n, _, e, fresh, known = due_head(best)
  if not n or (e.once == '1' and #taken > 0) then break end
  if fresh then
    take_fresh(best, n, e, consumer)
  else
    redis.pcall('XCLAIM', stream(best), GROUP, consumer, 0, n .. '-0', 'JUSTID')
    call('ZREM', wait_key(best, e.visitor), n)
    refresh(best, e.visitor)
  end
  taken[#taken + 1] = { n, e.visitor }
  for _, value in ipairs({ e.body, known.attempts or e.attempts, text(created_at(e, known) - ahead_s), known.refusals or '0',
    known.refused_at and text(tonumber(known.refused_at) - ahead_s) or '', known.aliases or e.aliases, e.id }) do
    answer[#answer + 1] = value
  end
  if e.once == '1' then
    answer[2] = text(watched.epoch) .. ' ' .. text(call('HINCRBY', SERVER, 'n', 1))
    break
  end
end
-- Only now: entries of one visitor may share a lease, whose holder sends them one after the other.
call('HSET', P .. 'lease:' .. token, 'vendor', best, 'lease_s', lease_s)
call('ZADD', P .. 'leases', text(now + tonumber(lease_s)), token)
for _, row in ipairs(taken) do
  call('HSET', P .. 'lease:' .. token, 'n' .. row[1], '')
  call('HSET', P .. 'held:' .. best, row[1], token)
  call('HINCRBY', P .. 'busy:' .. best, row[2], 1)
  refresh(best, row[2])
end
return answer
