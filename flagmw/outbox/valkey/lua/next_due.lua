-- Return the seconds until a claim is worth while, as text, or false. ARGV: now, policy, consumer, lanes to skip.
local consumer, skip = ARGV[3], skipped(ARGV[4])
local first
local function at(due) if not first or due < first then first = due end end
for _, v in ipairs(vendors()) do
  if not skip[v] then
    local n, due = head(v, consumer)
    if n then at(due) end
  end
end
local leases = call('ZRANGE', P .. 'leases', 0, -1, 'WITHSCORES')
for i = 1, #leases, 2 do
  if not skip[call('HGET', P .. 'lease:' .. leases[i], 'vendor')] then at(tonumber(leases[i + 1])) end
end
if stopped then at(now) end
return first and text(math.max(0, first - now))
