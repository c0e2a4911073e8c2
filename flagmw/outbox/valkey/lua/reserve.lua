-- Keep business keys for events that are about to be forwarded. KEYS[1] is the prefix of all keys; ARGV: for how many
-- milliseconds, then key and event id of each. Returns 1 for each whose key is its own, 0 where another event has it.
-- The clock and the queues are left alone: a request waits for this.
local P, call, results = KEYS[1], redis.call, {}
for i = 2, #ARGV, 2 do
  local key, id = ARGV[i], ARGV[i + 1]
  local holder = call('HGET', P .. 'keys', key)
  local waits = holder and holder ~= id
    and (call('HEXISTS', P .. 'ids', holder) == 1 or call('HEXISTS', P .. 'deadids', holder) == 1)
  local told = waits or (holder ~= id and call('ZSCORE', P .. 'recent', 'k' .. key))
  local reserved = call('GET', P .. 'reserved:' .. key)
  if told or (reserved and reserved ~= id) then
    results[#results + 1] = 0
  else
    call('SET', P .. 'reserved:' .. key, id, 'PX', ARGV[1])
    results[#results + 1] = 1
  end
end
return results
