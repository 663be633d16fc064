-- Ends a session at once; what the node still holds goes to others, first in line, and counts against nobody.
-- arg: node session nonce   Returns OK | SESSION_ENDED | SESSION_SUPERSEDED | REPLAYED
local node = arg(1)
local said = heard(node, arg(2), arg(3))
if said ~= 'OK' then return said end
end_session(node)
redis.call('DEL', 'relay:node:' .. node)
hand_back_all(node)
return 'OK'
