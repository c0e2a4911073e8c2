-- Look through what the group holds of lane ARGV[3] from ARGV[5] on, idle for ARGV[6] milliseconds or more, in the
-- name of consumer ARGV[4]. An entry of which nothing else is known is made to wait again; what is known of entries
-- that somebody deleted is forgotten. Returns where to go on, "0-0" at the end.
local v, consumer = ARGV[3], ARGV[4]
local found = redis.pcall('XAUTOCLAIM', stream(v), GROUP, consumer, ARGV[6], ARGV[5], 'COUNT', 100, 'JUSTID')
if type(found) == 'table' and found.err then return '0-0' end
for _, id in ipairs(found[2]) do
  local n = string.match(id, '^%d+')
  if call('EXISTS', row_key(v, n)) == 0 then
    local e = entry(v, n)
    if e and ours(id, e) then
      call('HSET', row_key(v, n), 'visitor', e.visitor, 'attempts', e.attempts, 'refusals', 0)
      enqueue(v, n, e.visitor, now)
    else
      call('XACK', stream(v), GROUP, id)
      call('XDEL', stream(v), id)
    end
  end
end
for _, id in ipairs(found[3] or {}) do
  local n = string.match(id, '^%d+')
  take_back(v, n)
  remove(v, n, nil, false)
end
return found[1]
