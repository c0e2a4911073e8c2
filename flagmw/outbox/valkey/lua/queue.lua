-- The head of a lane: the entry that a claim would take first.

-- Take entry n out of the stream's fresh part, in the name of *consumer*.
local function take_fresh(v, n, e, consumer)
  local read = redis.pcall('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', 1, 'STREAMS', stream(v), '>')
  if type(read) == 'table' and read.err then
    -- The group is gone, after a flush or in a failover.
    make_group(v)
    read = call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', 1, 'STREAMS', stream(v), '>')
  end
  local got = read and read[1] and read[1][2][1] and read[1][2][1][1]
  if got ~= n .. '-0' then
    -- Somebody else read in our group, or it is new: it follows our cursor.
    call('XGROUP', 'SETID', stream(v), GROUP, n .. '-0')
  end
  call('HSET', P .. 'count:' .. v, 'cursor', n)
  if e then
    call('HSET', row_key(v, n), 'visitor', e.visitor, 'due', e.due, 'attempts', e.attempts, 'refusals', 0)
    if tonumber(e.created) > now then call('HSET', row_key(v, n), 'created', text(now)) end
  end
end

-- Return the first entry that was never taken; those of busy visitors are made to wait on the way. Many of these must
-- not keep the server from others, so this may stop early, with *stopped*.
local stopped = false
local function fresh_head(v, consumer)
  for _ = 1, 1000 do
    local cursor = call('HGET', P .. 'count:' .. v, 'cursor')
    local found = call('XRANGE', stream(v), cursor and '(' .. cursor .. '-0' or '-', '+', 'COUNT', 1)[1]
    if not found then return nil end
    local n, e = string.match(found[1], '^%d+'), fields(found[2])
    if not ours(found[1], e) then
      call('XDEL', stream(v), found[1])
    elseif call('EXISTS', row_key(v, n)) == 1 then
      take_fresh(v, n, nil, consumer)
    elseif call('HEXISTS', P .. 'busy:' .. v, e.visitor) == 1 then
      take_fresh(v, n, e, consumer)
      enqueue(v, n, e.visitor, math.min(tonumber(e.due), now))
    else
      return n, math.min(tonumber(e.due), now), e
    end
  end
  stopped = true
end

-- Return number, due time and fields of a lane's head, and whether it is fresh.
local function head(v, consumer)
  while true do
    local n, due, e = fresh_head(v, consumer)
    local first = call('ZRANGE', P .. 'ready:' .. v, 0, 0, 'WITHSCORES')
    if not first[1] or (n and tonumber(first[2]) > due) then return n, due, e, true end
    local waiting = entry(v, first[1])
    if waiting then return first[1], tonumber(first[2]), waiting, false end
    remove(v, first[1], nil, false)  -- trimmed by somebody: it is counted with `reconcile`
  end
end

local function skipped(list)
  local found = {}
  for _, v in ipairs(cjson.decode(list)) do found[v] = true end
  return found
end
