-- Settle entries that lease ARGV[3] holds; others are passed over, so that a late answer changes nothing.
-- ARGV: now, policy, token, then six for each entry: id, what, and its arguments. Returns how many were settled.
local settled = 0
for i = 4, #ARGV, 6 do
  local id, what, a, b, c, d = unpack(ARGV, i, i + 5)
  local v, n = string.match(call('HGET', P .. 'ids', id) or '', '^(.*) (%d+)$')
  if n and call('HGET', P .. 'held:' .. v, n) == ARGV[3] then
    settled = settled + 1
    take_back(v, n)
    local row, e = row_key(v, n), entry(v, n)
    if not e then
      remove(v, n, nil, false)
      call('HDEL', P .. 'ids', id)
    elseif what == 'settle' then
      remove(v, n, e, true)
      count(v, 'delivered', 1)
      if a == '1' then count(v, 'duplicates', 1) end
    elseif what == 'discard' then
      discard(v, n, a)
    elseif what == 'bury' then
      call('HINCRBY', row, 'attempts', 1)
      bury(v, n, a)
    elseif what == 'release' then
      enqueue(v, n, e.visitor, math.min(tonumber(call('HGET', row, 'due')), now))
    elseif what == 'requeue' then
      if b == '1' then call('HINCRBY', row, 'attempts', 1) end
      if c == '1' then
        call('HINCRBY', row, 'refusals', 1)
        call('HSETNX', row, 'refused_at', text(now))
      end
      if d ~= '' then call('HSET', row, 'aliases', d) end
      call('HDEL', row, 'unanswered')
      enqueue(v, n, e.visitor, math.min(tonumber(a) + ahead_s, now + policy.longest_s))
    end
  end
end
return settled
