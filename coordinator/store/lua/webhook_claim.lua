-- An attempt that is due, of the queue that has waited longest, for a process that makes it. arg: token lease_ms candidate (a new secret)
-- A lease that ended makes its attempt due again: whoever had it is dead, or is not heard any more.
-- Returns {id, secret, previous secret or '', {field, value, ...}} or nil
local token, lease = arg(1), tonumber(arg(2))
local LOOKS, HELD_BACK = 500, 1000  -- queues that one call looks at; ms until a queue of a busy account is looked at again

local function recover(queue)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', HOOKS .. 'held:' .. queue, '-inf', int(NOW), 'LIMIT', 0, 100)) do
    redis.call('ZREM', HOOKS .. 'held:' .. queue, id)
    redis.call('ZADD', HOOKS .. 'line:' .. queue, int(NOW), id)
  end
end

local function take(queue, account, id)
  redis.call('ZREM', HOOKS .. 'line:' .. queue, id)
  redis.call('ZADD', HOOKS .. 'held:' .. queue, int(NOW + lease), id)
  redis.call('ZADD', HOOKS .. 'busy:' .. account, int(NOW + lease), id)
  redis.call('HSET', hook(id), 'token', token)
  hook_schedule(queue)
  local secrets = hook_secrets(account, arg(3), NOW)
  return {id, secrets[1], secrets[3], redis.call('HGETALL', hook(id))}
end

for _ = 1, LOOKS do
  local queue = redis.call('ZRANGEBYSCORE', HOOKS .. 'due', '-inf', int(NOW), 'LIMIT', 0, 1)[1]
  if not queue then return false end
  recover(queue)
  local id = redis.call('ZRANGEBYSCORE', HOOKS .. 'line:' .. queue, '-inf', int(NOW), 'LIMIT', 0, 1)[1]
  if not id or redis.call('ZCARD', HOOKS .. 'held:' .. queue) >= HOOK_RECEIVER then
    hook_schedule(queue)
  else
    local account = string.match(queue, '^[^\n]*')
    local busy = HOOKS .. 'busy:' .. account
    redis.call('ZREMRANGEBYSCORE', busy, '-inf', int(NOW))
    if redis.call('ZCARD', busy) < HOOK_ACCOUNT then return take(queue, account, id) end
    redis.call('ZADD', HOOKS .. 'due', int(NOW + HELD_BACK), queue)
  end
end
return false
