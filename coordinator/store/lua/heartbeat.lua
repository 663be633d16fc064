-- arg: node session nonce stake(wei that must be staked, '' none) draining(0|1) count attempt...(that many, which it holds)
--   attempt...(those of them whose first token has come)
-- Returns {what, cancelled, expected, no_work}: what is OK | SESSION_ENDED | SESSION_SUPERSEDED | REPLAYED | NOT_ADMITTED
local node, draining, last_listed = arg(1), arg(5), 6 + tonumber(arg(6))
local key = 'relay:node:' .. node
local said, new = heard(node, arg(2), arg(3))
if said ~= 'OK' then return {said, {}, {}, ''} end
if arg(4) ~= '' and not has_stake(node, arg(4)) then
  end_session(node)
  take_all(node)
  return {'NOT_ADMITTED', {}, {}, ''}
end
local n = redis.call('HMGET', key, 'models', 'slots')
redis.call('HSET', key, 'draining', draining, 'seen_ms', int(NOW))
redis.call('HDEL', key, 'rests')
redis.call('ZADD', 'relay:nodes', int(NOW + POLICY.lease), node)
for model in string.gmatch(n[1], '[^\n]+') do
  if draining == '1' then stop_serving(node, model)
  else redis.call('SADD', 'relay:serving:' .. model, node) end
end
local listed, answering, cancelled, expected = {}, {}, {}, {}
for i = 7, last_listed do listed[arg(i)] = true end
for i = last_listed + 1, #ARGV do answering[arg(i)] = true end
if new then forget(node, listed) end

for i = 7, last_listed do
  local attempt = arg(i)
  if redis.call('SISMEMBER', 'relay:held:' .. node, attempt) == 1 then
    local id, number = split(attempt)
    if answering[attempt] then redis.call('HSETNX', task(id), 'answering:' .. int(number), int(NOW)) end
    -- a lease never outlives a stage of its attempt: a node that only ever promises is given up
    local stages = stages_of(id, number)
    redis.call('ZADD', 'relay:leases', int(math.min(NOW + POLICY.lease, stages.last)), attempt)
    if stages.state == 'assigned' then move(id, 'running') end
  else table.insert(cancelled, attempt) end
end
for _, attempt in ipairs(redis.call('SMEMBERS', 'relay:held:' .. node)) do
  if not listed[attempt] then
    table.insert(expected, attempt)
    -- it had time to take it
    local id, number = split(attempt)
    if NOW >= stages_of(id, number).taken then redis.call('ZADD', 'relay:leases', int(NOW), attempt) end
  end
end
local given = fill(node)
local slots = tonumber(n[2])
local why, distrusted = '', distrust(node, slots, string.match(n[1], '[^\n]+'))
if draining == '1' then why = 'DRAINING'
elseif distrusted then why = distrusted
elseif redis.call('SCARD', 'relay:held:' .. node) >= slots then why = 'FULL'
elseif given == 0 then why = 'NO_DEMAND' end
return {'OK', cancelled, expected, why}
