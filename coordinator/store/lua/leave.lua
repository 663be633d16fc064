-- Ends a session at once; what the node still holds goes to others, first in line (see give_back).
-- arg: node session nonce   Returns OK | SESSION_ENDED | SESSION_SUPERSEDED | REPLAYED
local node = arg(1)
local said = heard(node, arg(2), arg(3))
if said ~= 'OK' then return said end
end_session(node)
redis.call('DEL', 'relay:node:' .. node)
local held = redis.call('SMEMBERS', 'relay:held:' .. node)
table.sort(held)
for _, attempt in ipairs(held) do
  local id, number = split(attempt)
  give_back(id, number, node, 'lost', LOST_CODE, LOST_MESSAGE, LOST_STATUS)
end
return 'OK'
