-- Opens a node's session and ends any earlier one of the same key; its attempts stay its own as long as it lists them.
-- arg: node challenge session slots models(one a line) version hardware(json)
-- Returns OK, or CHALLENGE_UNKNOWN (never given, used, or too old)
local node = arg(1)
local challenge = 'relay:challenge:' .. node .. ':' .. arg(2)
if redis.call('DEL', challenge) == 0 then return 'CHALLENGE_UNKNOWN' end
local key = 'relay:node:' .. node
for model in string.gmatch(redis.call('HGET', key, 'models') or '', '[^\n]+') do
  redis.call('SREM', 'relay:serving:' .. model, node)
  redis.call('ZREM', 'relay:free:' .. model, node)
end
redis.call('HSET', key, 'session', arg(3), 'slots', arg(4), 'models', arg(5), 'draining', '0', 'version', arg(6),
  'hardware', arg(7), 'since_ms', int(NOW))
redis.call('ZADD', 'relay:nodes', int(NOW + POLICY.lease), node)
for model in string.gmatch(arg(5), '[^\n]+') do redis.call('SADD', 'relay:serving:' .. model, node) end
-- no work yet: the first heartbeat says that its consumer is up
for model in string.gmatch(arg(5), '[^\n]+') do redis.call('ZREM', 'relay:free:' .. model, node) end
return 'OK'
