-- Return the counts as one JSON object. What lies in a stream is what is queued: anything that an operator or another
-- program trimmed is lost and counted as such; anything that was added is accepted.
local lanes = {}
for _, v in ipairs(vendors()) do
  local there, counted = call('XLEN', stream(v)), tonumber(call('HGET', P .. 'count:' .. v, 'queued') or 0)
  if there < counted then count(v, 'dropped:LOST', counted - there) end
  if there > counted then count(v, 'accepted', there - counted) end
  call('HSET', P .. 'count:' .. v, 'queued', there)
  local lane = fields(call('HGETALL', P .. 'count:' .. v))
  local found = call('XRANGE', stream(v), '-', '+', 'COUNT', 1)[1]
  lane.leased = call('HLEN', P .. 'held:' .. v)
  lane.oldest = found and text(math.max(0, now - tonumber(fields(found[2]).created or now))) or '0'
  lanes[v] = lane
end
return cjson.encode({ lanes = lanes, refused = fields(call('HGETALL', P .. 'refused')) })
