-- What time brings about: dead nodes, lost leases, tasks past their deadline, free slots beside waiting tasks.
-- Any number of processes may sweep. arg: quiet_ms limit
-- Returns {lost, given_up, dead, users, notices}: attempt ids, task ids, nodes, broker users that whoever swept has to remove, and JSON
local quiet, limit = tonumber(arg(1)), tonumber(arg(2))
local last = tonumber(redis.call('GET', 'relay:swept_ms') or NOW)
redis.call('SET', 'relay:swept_ms', int(NOW))
-- Nobody swept for a while: we were down, and so no node could renew, or this server's clock was set. Give everybody a whole lease, and
-- no more, before judging.
if math.abs(NOW - last) > quiet then
  local soon = int(NOW + POLICY.lease)
  for _, key in ipairs({'relay:leases', 'relay:nodes'}) do
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZADD', key, soon, member) end
  end
  for _, key in ipairs({'relay:deadlines', 'relay:holds'}) do
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', soon)) do
      redis.call('ZADD', key, soon, id)
      if redis.call('HEXISTS', task(id), 'deadline_ms') == 1 then redis.call('HSET', task(id), 'deadline_ms', soon) end
    end
  end
  redis.call('SET', 'relay:excused_ms', soon)
  return {{}, {}, {}, {}, {}}
end

local dead = redis.call('ZRANGEBYSCORE', 'relay:nodes', '-inf', int(NOW), 'LIMIT', 0, limit)
for _, node in ipairs(dead) do
  end_session(node)
  -- those that it was given lately would wait longer for nothing: all are judged below, within the limit
  for _, attempt in ipairs(redis.call('SMEMBERS', 'relay:held:' .. node)) do redis.call('ZADD', 'relay:leases', 'XX', int(NOW), attempt) end
end

local given_up = redis.call('ZRANGEBYSCORE', 'relay:deadlines', '-inf', int(NOW), 'LIMIT', 0, limit)
for _, id in ipairs(given_up) do
  local t = redis.call('HMGET', task(id), 'state', 'attempt', 'node')
  if t[1] then excuse(id) end
  if not t[1] then redis.call('ZREM', 'relay:deadlines', id)
  elseif t[1] == 'waiting' then
    fail_task(id, 'CAPACITY_EXHAUSTED', 'No node had room for the task before its deadline. Send it again later.', '503')
  else
    close_attempt(id, tonumber(t[2]), t[3], 'lost')  -- nobody's fault: the task may have waited for most of its time
    tell(t[3], id .. '#' .. t[2])
    fail_task(id, 'UPSTREAM_TIMEOUT', 'The task was not answered before its deadline.', '504')
    fill(t[3])
  end
end

local lost = redis.call('ZRANGEBYSCORE', 'relay:leases', '-inf', int(NOW), 'LIMIT', 0, limit)
for _, attempt in ipairs(lost) do lose(attempt) end

-- money that is held for calls whose process is gone
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'relay:holds', '-inf', int(NOW), 'LIMIT', 0, limit)) do
  settle(id, false, '0', '0', NOW)
  redis.call('ZREM', 'relay:holds', id)
end

for _, id in ipairs(waited_enough(limit)) do give(id, true) end

-- should find nothing to do: every script above fills what it frees
for _, model in ipairs(redis.call('SMEMBERS', 'relay:lines')) do
  local free = redis.call('ZRANGE', 'relay:free:' .. model, 0, 0)
  if free[1] then fill(free[1]) end
end
local notices = redis.call('LRANGE', 'relay:notices', 0, -1)
redis.call('DEL', 'relay:notices')
-- far more than are due at a time: those that are removed but not yet forgotten are among them, and stand before the rest
return {lost, given_up, dead, redis.call('ZRANGEBYSCORE', 'relay:users', '-inf', int(NOW), 'LIMIT', 0, 10 * limit), notices}
