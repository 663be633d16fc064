-- Ends a session at once; what the node still holds goes to others, first in line, and counts against nobody.
-- arg: node session   Returns OK | SESSION_ENDED | SESSION_SUPERSEDED
local node = arg(1)
local key = 'relay:node:' .. node
local n = redis.call('HMGET', key, 'session', 'models')
if not n[1] then return 'SESSION_ENDED' end
if n[1] ~= arg(2) then return 'SESSION_SUPERSEDED' end
redis.call('ZREM', 'relay:nodes', node)
for model in string.gmatch(n[2], '[^\n]+') do
  redis.call('SREM', 'relay:serving:' .. model, node)
  redis.call('ZREM', 'relay:free:' .. model, node)
end
redis.call('DEL', key)
local held = redis.call('SMEMBERS', 'relay:held:' .. node)
table.sort(held)
for _, attempt in ipairs(held) do
  local id, number = split(attempt)
  close_attempt(id, number, node, 'lost')
  try_again(id, node, false)
end
redis.call('DEL', 'broker:' .. node .. ':node.' .. node)
return 'OK'
