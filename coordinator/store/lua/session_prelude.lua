-- Who speaks for a node: sessions, nonces, broker users.
--
-- relay:node:{node}           of its session: session, until_ms; of the one before, until the renewed one's first heartbeat: previous,
--                             previous_until_ms; new: until the first heartbeat of a process that did not renew; rests: until its next one
-- relay:nonce:{node}:{nonce}  string  a used one, remembered for longer than what it was signed with is good
-- relay:challenge:{node}:{challenge}  string  one that was answered, until it would have run out (challenges.py); relay:challenge_key  what
--                             they are made with
-- relay:users                 zset    broker user -> when it goes (ms). Every user is in here before it is made, and until it is removed
-- relay:banned                hash    node -> the operator's reason

-- ms: a consumer that was told to stop ends with its blocking pop, within a second; what it has popped it still delivers.
local LAST_POP = 5000
-- s: how long operators see a node that is gone.
local GONE_TTL = 86400

local function user_of(node, session) return 'node-' .. node .. '-' .. string.sub(session, 1, 8) end
local function user_goes(node, session, at) redis.call('ZADD', 'relay:users', int(at), user_of(node, session)) end

local function first_use(node, nonce)
  return redis.call('SET', 'relay:nonce:' .. node .. ':' .. nonce, '1', 'PX', NONCE_MEMORY, 'NX')
end

local function first_answer(node, challenge, good_until)
  if good_until <= NOW then return false end
  return redis.call('SET', 'relay:challenge:' .. node .. ':' .. challenge, '1', 'PX', int(good_until - NOW + 1), 'NX')
end

-- Of a signed request within a session: OK (and whether it is the first of a process that did not renew) | SESSION_ENDED
-- | SESSION_SUPERSEDED | REPLAYED. Nonces are remembered of sessions alone, so that strangers can't fill the store with them.
-- While the grant of a renewed session may be on its way, or lost, the one before is as good.
local function heard(node, session, nonce)
  local key = 'relay:node:' .. node
  local n = redis.call('HMGET', key, 'session', 'until_ms', 'previous', 'previous_until_ms', 'new')
  if not n[1] then return 'SESSION_ENDED' end
  local ends = session == n[1] and (n[2] or '0') or session == n[3] and n[4]
  if not ends then return 'SESSION_SUPERSEDED' end
  if tonumber(ends) <= NOW then return 'SESSION_ENDED' end
  if not first_use(node, nonce) then return 'REPLAYED' end
  if session == n[1] and n[3] then
    redis.call('HDEL', key, 'previous', 'previous_until_ms')
    user_goes(node, n[3], NOW + LAST_POP)
  end
  return 'OK', n[5]
end

-- Out of the schedule, its broker users go now, and no prompt lies about in a queue that nobody empties. Its attempts are the caller's.
local function end_session(node)
  local key = 'relay:node:' .. node
  local n = redis.call('HMGET', key, 'session', 'previous', 'models')
  redis.call('ZREM', 'relay:nodes', node)
  for model in string.gmatch(n[3] or '', '[^\n]+') do
    stop_serving(node, model)
    redis.call('ZREM', 'relay:free:' .. model, node)
  end
  if n[1] then user_goes(node, n[1], NOW) end
  if n[2] then user_goes(node, n[2], NOW) end
  redis.call('HDEL', key, 'session', 'until_ms', 'previous', 'previous_until_ms', 'new')
  redis.call('EXPIRE', key, GONE_TTL)
  redis.call('DEL', 'broker:' .. node .. ':node.' .. node)
end

-- What the node holds goes to others, first in line; we take it away, so it counts against nobody.
local function take_all(node)
  local held = redis.call('SMEMBERS', 'relay:held:' .. node)
  table.sort(held)
  for _, attempt in ipairs(held) do
    local id, number = split(attempt)
    close_attempt(id, number, node, 'lost')
    try_again(id, node, false)
  end
end

-- What an earlier process was given and this one doesn't have is lost: nobody waits for its leases.
local function forget(node, listed)
  redis.call('HDEL', 'relay:node:' .. node, 'new')
  redis.call('DEL', 'broker:' .. node .. ':node.' .. node)
  local held = redis.call('SMEMBERS', 'relay:held:' .. node)
  table.sort(held)
  for _, attempt in ipairs(held) do
    if not listed[attempt] then lose(attempt) end
  end
end
