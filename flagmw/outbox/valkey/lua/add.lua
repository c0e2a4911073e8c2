-- Say whether event *id* waits; one that somebody trimmed does not, whatever is still known of it.
local function waits(id)
  local v, n = string.match(id and call('HGET', P .. 'ids', id) or '', '^(.*) (%d+)$')
  if not n then return false end
  if entry(v, n) then return true end
  call('HDEL', P .. 'ids', id)
  return false
end

-- Say whether a business key was told already or is about to be, by another event than *id*. One that was laid aside
-- in doubt may have been told, and keeps its key.
local function told(key, id)
  if key == '' then return false end
  local holder = call('HGET', P .. 'keys', key)
  if holder and holder ~= id and (waits(holder) or call('HEXISTS', P .. 'deadids', holder) == 1) then return true end
  return call('ZSCORE', P .. 'recent', 'k' .. key)
end

-- Append an event to its lane. Due times never fall along a stream, so that a visitor's order is the stream's.
local function add(v, id, visitor, created, once, key, attempts, aliases, body)
  if call('SADD', P .. 'vendors', v) == 1 then make_group(v) end
  local due = math.min(math.max(created, tonumber(call('HGET', P .. 'count:' .. v, 'due') or 0)), now)
  call('HSET', P .. 'count:' .. v, 'due', text(due))
  local n
  for _ = 1, 2 do
    n = text(call('INCR', P .. 'seq'))
    local added = redis.pcall('XADD', stream(v), n .. '-0', 'id', id, 'visitor', visitor, 'created', text(created),
      'due', text(due), 'once', once, 'key', key, 'attempts', attempts, 'aliases', aliases, 'body', body)
    if type(added) ~= 'table' or not added.err then break end
    -- The counter was lost and the stream was not: go on after its end.
    local info = call('XINFO', 'STREAM', stream(v))
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then call('SET', P .. 'seq', string.match(info[i + 1], '^%d+')) end
    end
  end
  call('HSET', P .. 'ids', id, v .. ' ' .. n)
  if key ~= '' then call('HSET', P .. 'keys', key, id) end
  count(v, 'queued', 1)
  return n
end
