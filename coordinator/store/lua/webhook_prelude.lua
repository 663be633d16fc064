-- Webhooks of tasks. Loaded before dispatch_prelude.lua, whose end_task makes a delivery due.
--
-- relay:webhook:{id}             hash  state url receiver account created_ms; from the task's end on event ended_ms mode model
--                                      task_address task_created_ms error_code error_message (for when the task has expired) tries
--                                      last_ms http_status error delivered_ms; token of the attempt that runs
-- relay:webhooks:due             zset  queue -> when something of it is next to do (ms)
-- relay:webhooks:line:{queue}    zset  task -> when its next attempt is due (ms)
-- relay:webhooks:held:{queue}    zset  task whose attempt runs -> when its lease ends (ms)
-- relay:webhooks:busy:{account}  zset  the same of all of an account's queues
-- relay:webhooks:of:{account}    zset  task -> created_ms
-- relay:webhooks:secret:{account} hash current created_ms previous previous_until_ms
-- A queue is account '\n' receiver: nobody's deliveries wait for those of others, nor for another receiver.

local HOOKS = 'relay:webhooks:'
local HOOK_RECEIVER, HOOK_ACCOUNT = 8, 32  -- attempts at a time, over all processes

local function hook(id) return 'relay:webhook:' .. id end
local function hook_ms(n) return string.format('%.0f', n) end

local function hook_queue(id)
  local h = redis.call('HMGET', hook(id), 'account', 'receiver')
  return h[1] and h[1] .. '\n' .. h[2]
end

local function hook_move(id, target)
  local current = redis.call('HGET', hook(id), 'state')
  if not current or not MOVES.webhook[current][target] then
    error('ILLEGAL webhook ' .. tostring(current) .. ' -> ' .. target)
  end
  redis.call('HSET', hook(id), 'state', target)
end

-- Writes down when a queue is next worth a look: its first delivery if there is room, a lease that ends.
local function hook_schedule(queue)
  local first = redis.call('ZRANGE', HOOKS .. 'line:' .. queue, 0, 0, 'WITHSCORES')
  local lease = redis.call('ZRANGE', HOOKS .. 'held:' .. queue, 0, 0, 'WITHSCORES')
  local at = tonumber(lease[2])
  if first[2] and redis.call('ZCARD', HOOKS .. 'held:' .. queue) < HOOK_RECEIVER then
    at = math.min(at or math.huge, tonumber(first[2]))
  end
  if at then redis.call('ZADD', HOOKS .. 'due', hook_ms(at), queue)
  else redis.call('ZREM', HOOKS .. 'due', queue) end
end

local function hook_due(id, at)
  local queue = hook_queue(id)
  redis.call('ZADD', HOOKS .. 'line:' .. queue, hook_ms(at), id)
  hook_schedule(queue)
  redis.call('PUBLISH', 'relay:webhooks', '')
end

-- A task with a webhook is admitted.
local function hook_add(id, url, receiver, account, now, memory_s)
  redis.call('HSET', hook(id), 'state', 'waiting', 'url', url, 'receiver', receiver, 'account', account, 'created_ms', hook_ms(now),
    'tries', '0')
  local mine = HOOKS .. 'of:' .. account
  redis.call('ZADD', mine, hook_ms(now), id)
  redis.call('EXPIRE', mine, memory_s)
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', mine, '-inf', hook_ms(now - memory_s * 1000), 'LIMIT', 0, 4)) do
    if redis.call('EXISTS', hook(old)) == 0 then redis.call('ZREM', mine, old) end
  end
end

-- The task has ended: what it takes to tell of it is kept apart from it, since it may expire first.
local function hook_ended(id, state, now)
  local names = {'mode', 'model', 'task_address', 'created_ms', 'error_code', 'error_message'}
  local t = redis.call('HMGET', 'relay:task:' .. id, unpack(names))
  names[4] = 'task_created_ms'
  hook_move(id, 'pending')
  redis.call('HSET', hook(id), 'event', 'task.' .. state, 'ended_ms', hook_ms(now))
  for i, name in ipairs(names) do
    if t[i] then redis.call('HSET', hook(id), name, t[i]) end
  end
  hook_due(id, now)
end

-- An account's signing secrets: current, when it was made, the one before while it is valid ('' without), until when.
local function hook_secrets(account, candidate, now)
  local key = HOOKS .. 'secret:' .. account
  if redis.call('HSETNX', key, 'current', candidate) == 1 then redis.call('HSET', key, 'created_ms', hook_ms(now)) end
  local s = redis.call('HMGET', key, 'current', 'created_ms', 'previous', 'previous_until_ms')
  if s[3] and tonumber(s[4]) <= now then
    redis.call('HDEL', key, 'previous', 'previous_until_ms')
    s[3], s[4] = nil, nil
  end
  return {s[1], s[2], s[3] or '', s[4] or ''}
end

-- When its next attempt is due, of one that has one.
local function hook_next(id) return redis.call('ZSCORE', HOOKS .. 'line:' .. hook_queue(id), id) or '' end
