-- Whether data may be missing on which depends that nothing is sent twice. In the hash `server`:
--   run, alive   which server wrote last, and when, by its own clock
--   stream       the id of its stream of writes, which its replicas name when they take over
--   weak         what would lose the last claims: "r" a restart, "f" a failover to a replica that need not confirm
--   epoch, n     counts claims of events that must not be sent twice: a process notices by it data that went back
--   doubt, since the last entry that may have been sent before data went missing, and when that was noticed
-- The caller says what it knows: *own_weak* "r" or "", how many replicas confirm, and the last claim.
local SERVER = P .. 'server'
local watched

-- The number of the last entry, also where the counter was lost and a stream was not.
local function last_entry()
  local last = tonumber(call('GET', P .. 'seq') or 0)
  for _, v in ipairs(vendors()) do
    local found = call('XREVRANGE', stream(v), '+', '-', 'COUNT', 1)[1]
    if found then last = math.max(last, tonumber(string.match(found[1], '^%d+'))) end
  end
  return last
end

local function watch(own_weak, confirming, seen_epoch, seen_n)
  if watched then return watched end
  local info = call('INFO', 'server', 'replication')
  local run = string.match(info, 'run_id:(%w+)') or ''
  local uptime = tonumber(string.match(info, 'uptime_in_seconds:(%d+)') or 0)
  local replicas = tonumber(string.match(info, 'connected_slaves:(%d+)') or 0)
  local time = tonumber(call('TIME')[1])
  if replicas > tonumber(confirming) then own_weak = own_weak .. 'f' end
  local known = fields(call('HGETALL', SERVER))
  local weak = (known.weak or '') .. own_weak
  local epoch, n = tonumber(known.epoch or 1), tonumber(known.n or 0)
  seen_epoch, seen_n = tonumber(seen_epoch), tonumber(seen_n)
  local lost = seen_epoch > epoch or (seen_epoch == epoch and seen_n > n)
  if known.run and known.run ~= run then
    -- One that ran already when the last one wrote was its replica. Any other one has read what is here from a disk,
    -- or was filled by a replica that had. Machines' clocks differ, but a replica that goes on with the last one's
    -- stream of writes may have begun just before.
    local follows = known.stream and known.stream == string.match(info, 'master_replid2:(%w+)')
    local was_replica = time - uptime < tonumber(known.alive) - (follows and 0 or 5)
    lost = lost or string.find(weak, was_replica and 'f' or '[rf]')
    weak = own_weak
  end
  if lost then
    epoch, n = math.max(epoch, seen_epoch) + 1, 0
    call('HSET', SERVER, 'n', 0, 'doubt', text(last_entry()), 'since', text(now))
    known = fields(call('HGETALL', SERVER))
  end
  local kept = (string.find(weak, 'r') and 'r' or '') .. (string.find(weak, 'f') and 'f' or '')
  call('HSET', SERVER, 'run', run, 'alive', text(time), 'weak', kept, 'epoch', text(epoch),
    'stream', string.match(info, 'master_replid:(%w+)') or '')
  watched = { epoch = epoch, doubt = tonumber(known.doubt or 0), since = tonumber(known.since or -1) }
  return watched
end
