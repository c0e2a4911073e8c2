-- The part that all scripts of the outbox share. KEYS[1] is the prefix of all keys; ARGV[1] the caller's time, ARGV[2]
-- the policy. Times in arguments and answers are on the caller's clock, times in keys on the outbox's.
--
-- One row is one stream entry: it is read from where it lies until it is settled. Beside the stream:
--   vendors        set of lanes
--   count:V        counters of lane V, and the cursor: the last entry that was taken from the stream
--   row:V:N        what happened to entry N since it was taken from the stream
--   wait:V:VISITOR entries of one visitor that wait again, by due time
--   ready:V        the first of these of every visitor who is free, by due time; heads:V finds it by visitor
--   busy:V         how many entries of a visitor are leased
--   held:V         which lease holds an entry; lease:T its entries; leases all leases by their end
--   ids, keys      where a waiting event is, which event holds a business key
--   recent         settled ids and business keys, by time
--   dead, deadids  dead letters, and where one is
--   server         what is known of the server itself; see server.lua
local P, policy = KEYS[1], cjson.decode(ARGV[2])
local call = redis.call
local now = tonumber(ARGV[1])
-- How far the outbox's clock is ahead of the caller's. A shared clock is the server's own, read in the script: whatever
-- a caller believes, and however late its script runs, all scripts go by one clock.
local ahead_s = 0
if policy.shared_clock then
  local time = call('TIME')
  ahead_s = tonumber(time[1]) + tonumber(time[2]) / 1000000 - now
  now = now + ahead_s
end
local GROUP = 'deliver'

-- Lua's own conversion keeps 14 digits, which are not enough for a time.
local function text(number) return string.format('%.17g', number) end
local function stream(v) return P .. 'stream:' .. v end
local function row_key(v, n) return P .. 'row:' .. v .. ':' .. n end
local function wait_key(v, visitor) return P .. 'wait:' .. v .. ':' .. visitor end
local function count(v, what, by) return call('HINCRBY', P .. 'count:' .. v, what, by) end

local function fields(flat)
  local found = {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

-- Return the fields of entry n of lane v, nil if somebody removed it.
local function entry(v, n)
  local found = call('XRANGE', stream(v), n .. '-0', n .. '-0')[1]
  return found and fields(found[2])
end

-- Say whether an entry is one of ours; another one is nothing that could be delivered.
local function ours(id, e)
  return string.find(id, '%-0$') and e.id and e.visitor and e.created and e.due and e.key and e.body
end

local function vendors()
  local found = call('SMEMBERS', P .. 'vendors')
  table.sort(found)
  return found
end

-- Make the group, at the beginning of the stream: whatever is there has not been delivered.
local function make_group(v)
  local made = redis.pcall('XGROUP', 'CREATE', stream(v), GROUP, '0', 'MKSTREAM')
  if type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then error(made.err) end
end

-- Put the visitor's first waiting entry where claims look, or take it away while the visitor is busy.
local function refresh(v, visitor)
  local ready, heads = P .. 'ready:' .. v, P .. 'heads:' .. v
  local old, new, due = call('HGET', heads, visitor), nil, nil
  if call('HEXISTS', P .. 'busy:' .. v, visitor) == 0 then
    local first = call('ZRANGE', wait_key(v, visitor), 0, 0, 'WITHSCORES')
    new, due = first[1], first[2]
  end
  if old and old ~= new then call('ZREM', ready, old) end
  if new then
    call('ZADD', ready, due, new)
    call('HSET', heads, visitor, new)
  elseif old then
    call('HDEL', heads, visitor)
  end
end

local function enqueue(v, n, visitor, due)
  call('HSET', row_key(v, n), 'due', text(due))
  call('ZADD', wait_key(v, visitor), text(due), n)
  refresh(v, visitor)
end

-- Take entry n out of the hands of its lease; false if none holds it.
local function take_back(v, n)
  local token = call('HGET', P .. 'held:' .. v, n)
  if not token then return false end
  local lease, visitor = P .. 'lease:' .. token, call('HGET', row_key(v, n), 'visitor')
  call('HDEL', P .. 'held:' .. v, n)
  call('HDEL', lease, 'n' .. n)
  if call('HLEN', lease) <= 2 then
    call('DEL', lease)
    call('ZREM', P .. 'leases', token)
  end
  if visitor then
    if call('HINCRBY', P .. 'busy:' .. v, visitor, -1) <= 0 then call('HDEL', P .. 'busy:' .. v, visitor) end
    refresh(v, visitor)
  end
  return true
end

-- Remember a settled id ("i...") or business key ("k..."), in order also when the clock stands still.
local function remember(what)
  local last = call('ZRANGE', P .. 'recent', -1, -1, 'WITHSCORES')[2]
  local at = now
  if last and tonumber(last) >= at then at = tonumber(last) + 0.000001 end
  call('ZADD', P .. 'recent', text(at), what)
  local over = call('ZCARD', P .. 'recent') - policy.recent_rows
  if over > 0 then call('ZREMRANGEBYRANK', P .. 'recent', 0, over - 1) end
end

local function free_key(e)
  if call('HGET', P .. 'keys', e.key) == e.id then call('HDEL', P .. 'keys', e.key) end
end

-- Remove entry n, which no lease holds, and all that is known of it; *keep_key* for an event that is laid aside in doubt.
local function remove(v, n, e, remember_key, keep_key)
  local visitor = call('HGET', row_key(v, n), 'visitor')
  call('XACK', stream(v), GROUP, n .. '-0')
  local removed = call('XDEL', stream(v), n .. '-0')
  call('DEL', row_key(v, n))
  if visitor and call('ZREM', wait_key(v, visitor), n) == 1 then refresh(v, visitor) end
  if removed == 1 then count(v, 'queued', -1) end
  if not e then return end
  call('HDEL', P .. 'ids', e.id)
  remember('i' .. e.id)
  if e.key ~= '' then
    if not keep_key then free_key(e) end
    if remember_key then remember('k' .. e.key) end
  end
end

local function drop_letter(at, letter, code)
  call('XDEL', P .. 'dead', at)
  call('HDEL', P .. 'deadids', letter.id)
  free_key(letter)
  call('DECRBY', P .. 'deadbytes', #letter.body)
  count(letter.vendor, 'dead', -1)
  count(letter.vendor, 'dropped:' .. code, 1)
  remember('i' .. letter.id)
end

local function first_letter()
  local found = call('XRANGE', P .. 'dead', '-', '+', 'COUNT', 1)[1]
  if found then return found[1], fields(found[2]) end
end

-- Lay entry n aside as a dead letter.
local function bury(v, n, code)
  local e = entry(v, n)
  if e then
    local known = fields(call('HGETALL', row_key(v, n)))
    local at = call('XADD', P .. 'dead', '*', 'id', e.id, 'vendor', v, 'visitor', e.visitor, 'key', e.key,
      'once', e.once, 'code', code, 'attempts', known.attempts or e.attempts, 'at', text(now),
      'aliases', known.aliases or e.aliases, 'body', e.body)
    call('HSET', P .. 'deadids', e.id, at)
    call('INCRBY', P .. 'deadbytes', #e.body)
    count(v, 'dead', 1)
  end
  remove(v, n, e, false, code == 'AMBIGUOUS')
  while call('XLEN', P .. 'dead') > policy.dead_rows
    or tonumber(call('GET', P .. 'deadbytes') or 0) > policy.dead_bytes do
    local first, letter = first_letter()
    if not first then break end
    drop_letter(first, letter, 'QUEUE_FULL')
  end
end

local function discard(v, n, code)
  local e = entry(v, n)
  -- The vendor may have the one that is in doubt: its business key must not be sent again either.
  remove(v, n, e, code == 'AMBIGUOUS')
  if e then count(v, 'dropped:' .. code, 1) end
end

-- When the entry was accepted; never later than now, whatever a clock said then.
local function created_at(e, known)
  return math.min(tonumber(known.created or e.created), now)
end

local function too_old(e, known)
  return now - created_at(e, known) >= policy.max_age_s
end

-- A lease ran out: its holder died, stalled or lost us, and may have sent what it held.
local function run_out(token)
  local lease = fields(call('HGETALL', P .. 'lease:' .. token))
  local v = lease.vendor
  for name, _ in pairs(lease) do
    local n = string.match(name, '^n(%d+)$')
    if n and take_back(v, n) then
      local e, known = entry(v, n), fields(call('HGETALL', row_key(v, n)))
      if not e then
        remove(v, n, nil, false)
      elseif e.once == '1' then
        discard(v, n, 'AMBIGUOUS')
      else
        call('HINCRBY', row_key(v, n), 'attempts', 1)
        local unanswered = call('HINCRBY', row_key(v, n), 'unanswered', 1)
        if too_old(e, known) then
          bury(v, n, 'TOO_OLD')
        elseif unanswered > policy.poison then
          bury(v, n, 'POISON')
        else
          -- Due as before: it was claimed first, so it comes first again.
          enqueue(v, n, known.visitor, math.min(tonumber(known.due), now))
        end
      end
    end
  end
  call('DEL', P .. 'lease:' .. token)
  call('ZREM', P .. 'leases', token)
end

-- Follow a clock that jumped back by so many seconds: everything waits as long as it would have.
local function rewind(behind_s)
  for _, v in ipairs(vendors()) do
    call('HDEL', P .. 'count:' .. v, 'due')
    local visitors = call('HKEYS', P .. 'heads:' .. v)
    for _, visitor in ipairs(call('HKEYS', P .. 'busy:' .. v)) do visitors[#visitors + 1] = visitor end
    for _, visitor in ipairs(visitors) do
      local waiting = call('ZRANGE', wait_key(v, visitor), 0, -1, 'WITHSCORES')
      for i = 1, #waiting, 2 do
        local known = fields(call('HGETALL', row_key(v, waiting[i])))
        local due = math.min(tonumber(waiting[i + 1]) - behind_s, now + policy.longest_s)
        call('ZADD', wait_key(v, visitor), text(due), waiting[i])
        call('HSET', row_key(v, waiting[i]), 'due', text(due))
        if known.refused_at and tonumber(known.refused_at) > now then
          call('HSET', row_key(v, waiting[i]), 'refused_at', text(now))
        end
      end
      refresh(v, visitor)
    end
  end
  local leases = call('ZRANGE', P .. 'leases', 0, -1, 'WITHSCORES')
  for i = 1, #leases, 2 do
    local lease_s = tonumber(call('HGET', P .. 'lease:' .. leases[i], 'lease_s'))
    if lease_s then call('ZADD', P .. 'leases', text(math.min(tonumber(leases[i + 1]), now + lease_s)), leases[i]) end
  end
end

-- Follow a server's clock that jumped ahead: a lease keeps the time that its holder had left.
local function extend(by_s)
  local leases = call('ZRANGE', P .. 'leases', 0, -1)
  for _, token in ipairs(leases) do call('ZINCRBY', P .. 'leases', text(by_s), token) end
end

-- Set the clock, end leases that ran out, forget what is past its age. Small steps back are none: machines differ. A
-- caller in the background may have read its clock a while ago: its steps back are none, either.
local last = tonumber(call('GET', P .. 'clock') or 0)
if now < last - 60 and not policy.background then rewind(last - now) elseif now < last then now = last end
-- Nobody ran a script for more than a minute: nobody was there, or the clock jumped.
if policy.shared_clock and last > 0 and now > last + 60 then extend(now - last) end
call('SET', P .. 'clock', text(now))
for _, token in ipairs(call('ZRANGEBYSCORE', P .. 'leases', '-inf', text(now))) do run_out(token) end
call('ZREMRANGEBYSCORE', P .. 'recent', '-inf', text(now - policy.recent_age_s))
while true do
  local at, letter = first_letter()
  if not at or tonumber(letter.at) > now - policy.dead_age_s then break end
  drop_letter(at, letter, 'TOO_OLD')
end
