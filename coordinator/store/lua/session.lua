-- Opens a node's session. One that names the node's own session as `previous` renews it, and disturbs nothing; any other takes over,
-- and gets work from its first heartbeat on, which says that its consumer is up.
-- arg: node challenge nonce session slots models(one a line) version hardware(json) previous('': none)
--   good_until(ms: the challenge, which the caller has found to be one of ours)
-- Returns {OK, broker user that goes at once...} | {SESSION_SUPERSEDED} (`previous` is not the session that lives)
--   | {CHALLENGE_UNKNOWN} (used, or too old) | {REPLAYED} | {BANNED, reason}
local node, session, previous = arg(1), arg(4), arg(9)
if not first_answer(node, arg(2), tonumber(arg(10))) then return {'CHALLENGE_UNKNOWN'} end
if not first_use(node, arg(3)) then return {'REPLAYED'} end
local ban = redis.call('HGET', 'relay:banned', node)
if ban then return {'BANNED', ban} end

local key = 'relay:node:' .. node
local n = redis.call('HMGET', key, 'session', 'until_ms', 'previous', 'models', 'draining')
local renews = previous ~= '' and (previous == n[1] or previous == n[3])
if previous ~= '' and not renews and n[1] and tonumber(n[2] or '0') > NOW then return {'SESSION_SUPERSEDED'} end

local cut = {'OK'}
local function cut_off(old)
  if not old then return end
  user_goes(node, old, NOW)
  table.insert(cut, user_of(node, old))
end

if renews and previous == n[1] then
  if n[3] then user_goes(node, n[3], NOW + LAST_POP) end
  redis.call('HSET', key, 'previous', n[1], 'previous_until_ms', n[2] or '0')
elseif renews then
  cut_off(n[1])  -- its grant never arrived
else
  cut_off(n[1])
  cut_off(n[3])
  redis.call('HDEL', key, 'previous', 'previous_until_ms')
  -- over, but whoever had it is the one who signs in: if this grant never arrives, it will name that session again
  if previous ~= '' then redis.call('HSET', key, 'previous', previous, 'previous_until_ms', '0') end
  redis.call('HSET', key, 'new', '1', 'draining', '0', 'since_ms', int(NOW))
end

for model in string.gmatch(n[4] or '', '[^\n]+') do
  stop_serving(node, model)
  redis.call('ZREM', 'relay:free:' .. model, node)
end
redis.call('HSET', key, 'session', session, 'until_ms', int(NOW + POLICY.session), 'slots', arg(5), 'models', arg(6),
  'version', arg(7), 'hardware', arg(8))
redis.call('PERSIST', key)
user_goes(node, session, NOW + POLICY.session + POLICY.lease)
redis.call('ZADD', 'relay:nodes', int(NOW + POLICY.lease), node)
if not (renews and n[5] == '1') then
  for model in string.gmatch(arg(6), '[^\n]+') do redis.call('SADD', 'relay:serving:' .. model, node) end
end
recognise(node, cjson.decode(arg(8)).gpu_ids or {})
if renews then refresh(node) end
return cut
