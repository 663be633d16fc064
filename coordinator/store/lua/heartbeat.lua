-- arg: node session draining(0|1) attempt...   (the attempts that it holds)
-- Returns {what, cancelled, expected, no_work}: what is OK | SESSION_ENDED | SESSION_SUPERSEDED
local node, session, draining = arg(1), arg(2), arg(3)
local key = 'relay:node:' .. node
local n = redis.call('HMGET', key, 'session', 'models', 'slots')
if not n[1] then return {'SESSION_ENDED', {}, {}, ''} end
if n[1] ~= session then return {'SESSION_SUPERSEDED', {}, {}, ''} end
redis.call('HSET', key, 'draining', draining, 'seen_ms', int(NOW))
redis.call('ZADD', 'relay:nodes', int(NOW + POLICY.lease), node)
for model in string.gmatch(n[2], '[^\n]+') do
  if draining == '1' then redis.call('SREM', 'relay:serving:' .. model, node)
  else redis.call('SADD', 'relay:serving:' .. model, node) end
end

local listed, cancelled, expected = {}, {}, {}
for i = 4, #ARGV do
  local attempt = arg(i)
  listed[attempt] = true
  if redis.call('SISMEMBER', 'relay:held:' .. node, attempt) == 1 then
    local id = split(attempt)
    local t = redis.call('HMGET', task(id), 'state', 'assigned_ms', 'deadline_ms')
    -- a lease never outlives its attempt: a node that only ever promises is given up
    local last = math.min(tonumber(t[2]) + POLICY.attempt_timeout, tonumber(t[3]))
    redis.call('ZADD', 'relay:leases', int(math.min(NOW + POLICY.lease, last)), attempt)
    if t[1] == 'assigned' then move(id, 'running') end
  else table.insert(cancelled, attempt) end
end
for _, attempt in ipairs(redis.call('SMEMBERS', 'relay:held:' .. node)) do
  if not listed[attempt] then table.insert(expected, attempt) end
end
local given = fill(node)
local why = ''
if draining == '1' then why = 'DRAINING'
elseif redis.call('SCARD', 'relay:held:' .. node) >= tonumber(n[3]) then why = 'FULL'
elseif given == 0 then why = 'NO_DEMAND' end
return {'OK', cancelled, expected, why}
