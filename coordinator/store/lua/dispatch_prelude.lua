-- From a waiting task to its attempt and back: choosing a node, the Envelope, leases, ends.

-- A node's place in the free lists of its models. Returns its free slots (0 for one that is draining, suspended or not alive, or has not
-- beaten yet, since its first heartbeat empties its queue; nor since it gave something back, which may be the first word of its draining).
local function refresh(node)
  local n = redis.call('HMGET', 'relay:node:' .. node, 'slots', 'models', 'draining', 'worked', 'new', 'rests')
  if not n[1] then return 0 end
  local slots, held = tonumber(n[1]), redis.call('SCARD', 'relay:held:' .. node)
  local allowed, condition = allowance(node, slots, string.match(n[2], '[^\n]+'))
  local serves = n[3] ~= '1' and not n[5] and not n[6] and redis.call('ZSCORE', 'relay:nodes', node)
  local free = serves and allowed - held or 0
  for model in string.gmatch(n[2], '[^\n]+') do
    if free > 0 then redis.call('ZADD', 'relay:free:' .. model, rank(node, model, held, allowed, tonumber(n[4]) or 0), node)
    else redis.call('ZREM', 'relay:free:' .. model, node) end
    if condition == 'suspended' and serves then redis.call('SADD', 'relay:suspended:' .. model, node)
    elseif condition ~= 'good' then redis.call('SREM', 'relay:suspended:' .. model, node) end
  end
  return math.max(free, 0)
end

-- Celery's message protocol 2, as kombu's Redis transport takes it from a list (CELERY_ON_REDIS.md; a test with a stock worker guards it).
-- `tag` and `arguments` are JSON. Of a queue that nobody empties, so much is kept as the node can hold and as much again: the rest is
-- prompts of attempts that are over.
local function send(node, name, tag, arguments)
  local q = cjson.encode
  local body = '[[' .. arguments .. '],{},{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'
  local queue = 'node.' .. node
  local list = 'broker:' .. node .. ':' .. queue
  local length = redis.call('LPUSH', list,
    '{"body":' .. q(body) .. ',"content-encoding":"utf-8","content-type":"application/json","headers":{"lang":"py","task":"' .. name .. '","id":'
    .. tag .. ',"root_id":' .. tag .. ',"parent_id":null,"group":null,"retries":0,"eta":null,"expires":null,"timelimit":[null,null],"argsrepr":"","kwargsrepr":"","origin":"coordinator","ignore_result":true},"properties":{"correlation_id":'
    .. tag .. ',"reply_to":"","delivery_mode":2,"delivery_info":{"exchange":"","routing_key":' .. q(queue) .. '},"priority":0,"delivery_tag":' .. tag .. '}}')
  if length > 16 then redis.call('LTRIM', list, 0, 15 + 2 * tonumber(redis.call('HGET', 'relay:node:' .. node, 'slots'))) end
end

local function publish(node, id, number, t)
  local q = cjson.encode
  local deadline = math.min(NOW + POLICY.attempt_timeout, tonumber(t.deadline_ms))
  local envelope = '{"version":1,"task_id":' .. q(id) .. ',"attempt":' .. int(number) .. ',"model":' .. q(t.model) .. ',"endpoint":' .. q(t.endpoint or 'chat/completions')
    .. ',"task_address":' .. q(t.task_address) .. ',"salt":' .. q(t.salt) .. ',"request_hash":' .. q(t.request_hash)
    .. ',"request":' .. q(t.request) .. ',"assigned_at_ms":' .. int(NOW) .. ',"deadline_ms":' .. int(deadline) .. '}'
  send(node, 'relay.run_attempt', q(id .. '#' .. int(number)), envelope)
end

-- Opens an attempt and its lease. The caller has made sure that the task waits.
local function open_attempt(id, holder)
  move(id, 'assigned')
  local number = redis.call('HINCRBY', task(id), 'attempt', 1)
  local n = int(number)
  redis.call('HSET', task(id), 'node', holder, 'assigned_ms', int(NOW), 'attempt_state:' .. n, 'open', 'attempt_node:' .. n, holder)
  redis.call('SADD', 'relay:held:' .. holder, id .. '#' .. n)
  redis.call('ZADD', 'relay:leases', int(NOW + POLICY.lease), id .. '#' .. n)
  return number
end

local function assign(id, node)
  local names = {'model', 'endpoint', 'request', 'salt', 'request_hash', 'task_address', 'deadline_ms', 'prefix', 'wants'}
  local values, t = redis.call('HMGET', task(id), unpack(names)), {}
  for i, name in ipairs(names) do t[name] = values[i] end
  start_from(id, line_of('opengpu', t.model))
  stop_awaiting(id, t.wants)
  remember(t.prefix, node)
  local number = open_attempt(id, node)
  publish(node, id, number, t)
  redis.call('HSET', 'relay:node:' .. node, 'worked', int(redis.call('INCR', 'relay:worked')))
  refresh(node)
end

-- Gives a waiting opengpu task to the best free node that has not had it, else puts it into the line (`first`: see enter_line).
local function give(id, first)
  local t = redis.call('HMGET', task(id), 'model', 'tried')
  local model, tried, chosen = t[1], t[2], nil
  local free = redis.call('ZRANGE', 'relay:free:' .. model, 0, SCAN - 1)
  for _, node in ipairs(free) do
    if not was_tried(tried, node) then chosen = node break end
  end
  if not chosen and free[1] and not fresh_node_lives(model, tried) then chosen = free[1] end
  if chosen then assign(id, chosen) else enter_line(id, line_of('opengpu', model), first) end
end

-- Gives a newcomer to the node that it wants, at once or after a short wait, else to any.
local function offer(id, model, node)
  local free = 'relay:free:' .. model
  if redis.call('ZSCORE', free, node) then return assign(id, node) end
  if redis.call('EXISTS', free) == 0 or not await(id, node, model) then give(id) end
end

-- Fills a node's free slots: with who waits for it alone, then from the lines of its models. Returns how many tasks it has got.
local function fill(node)
  local free, given = refresh(node), 0
  local models = redis.call('HGET', 'relay:node:' .. node, 'models') or ''
  while free > 0 do
    local id = awaits(node) or next_for(node, models)
    if not id then return given end
    assign(id, node)
    free, given = free - 1, given + 1
  end
  return given
end

-- `outcome` and `tokens_out`: see `note`; none where nobody did well or badly.
local function close_attempt(id, number, holder, state, outcome, tokens_out)
  move_attempt(id, number, state)
  local attempt = id .. '#' .. int(number)
  redis.call('SREM', 'relay:held:' .. holder, attempt)
  redis.call('ZREM', 'relay:leases', attempt)
  if note(holder, id, number, outcome, tokens_out) then refresh(holder) end
end

-- Ends a task: nothing of it is left in lines; it expires by policy, leaves a tombstone, and its record goes to the outbox.
local function end_task(id, state)
  local t = redis.call('HMGET', task(id), 'mode', 'model', 'caller', 'tokens_in', 'tokens_out', 'webhook', 'wants')
  move(id, state)
  settle(id, state == 'completed', t[4], t[5], NOW)
  redis.call('HSET', task(id), 'ended_ms', int(NOW))
  redis.call('EXPIRE', task(id), RESULT_TTL)
  redis.call('SET', 'relay:gone:' .. id, '1', 'EX', RESULT_TTL + TOMBSTONE_TTL)
  redis.call('ZREM', 'relay:deadlines', id)
  redis.call('SREM', 'relay:open:' .. t[3], id)
  leave_line(id, line_of(t[1], t[2]))
  stop_awaiting(id, t[7])
  if t[1] == 'opengpu' then
    redis.call('HSET', 'relay:record:' .. id, 'settlement', 'pending', 'outcome', state)
    redis.call('ZADD', 'relay:outbox:settle', int(NOW), id)
  end
  if t[6] then hook_ended(id, state, NOW) end
  redis.call('PUBLISH', 'relay:ended', id)
end

local function fail_task(id, code, message, status)
  redis.call('HSET', task(id), 'error_code', code, 'error_message', message, 'error_status', status)
  if redis.call('HGET', task(id), 'mode') == 'opengpu' then redis.call('HSET', 'relay:record:' .. id, 'code', code) end
  end_task(id, 'failed')
end

-- After an attempt has come to nothing: another try, first in line, or the task's honest end. `counts`: false, true, or 'silent' for one
-- whose node was lost: it may be back, and then, where the others have no room for a lease, it is as good as any.
local function try_again(id, holder, counts, code, message, status)
  if counts then
    local tries = redis.call('HINCRBY', task(id), 'tries', 1)
    local t = redis.call('HMGET', task(id), 'tried', 'failed')
    redis.call('HSET', task(id), 'tried', (t[1] or '') .. ' ' .. holder)
    if counts == 'silent' then redis.call('HSET', task(id), 'lost_ms', int(NOW))
    else redis.call('HSET', task(id), 'failed', (t[2] or '') .. ' ' .. holder) end
    if tries >= POLICY.max_attempts then
      excuse(id)
      return fail_task(id, code, message, status)
    end
  end
  move(id, 'waiting')
  if redis.call('HGET', task(id), 'mode') == 'opengpu' then give(id, true)
  else
    enter_line(id, 'line-direct', true)
    redis.call('PUBLISH', 'relay:direct', id)
  end
end

-- What the client reads whose last node was lost.
local LOST_CODE, LOST_MESSAGE, LOST_STATUS = 'UPSTREAM_ERROR', 'Every node that took the task was lost. Send the request again.', '502'

-- A node gives an attempt back, and the task goes elsewhere. Nobody's fault, where it had hardly begun; but who has been at it for a lease
-- walks out on it, and who has had the task before and given it back sends it to and fro.
local function give_back(id, number, holder, state, code, message, status)
  local t = redis.call('HMGET', task(id), 'state', 'assigned_ms', 'returned')
  local returned = t[3] or ''
  local again = string.find(returned, holder, 1, true)
  local begun = t[1] == 'running' and NOW - tonumber(t[2]) >= POLICY.lease
  if not again then redis.call('HSET', task(id), 'returned', returned .. ' ' .. holder) end
  close_attempt(id, number, holder, state, begun and 'silent' or again and 'fault' or nil)
  try_again(id, holder, begun and 'silent' or again, code, message, status)
end

-- Tells a node to beat now, for there is news of an attempt of its: it is no longer its own.
local function tell(node, attempt)
  if redis.call('ZSCORE', 'relay:nodes', node) then send(node, 'relay.beat', cjson.encode(attempt .. '!'), '') end
end

-- Until when an attempt must have been `taken`, and what is the `last` moment for the stage that it is in: never before a whole lease
-- after an outage of ours, in which nobody could say anything.
local EXCUSED
local function stages_of(id, number)
  local t = redis.call('HMGET', task(id), 'answering:' .. int(number), 'state', 'assigned_ms', 'deadline_ms', 'first_token_ms')
  local opened = tonumber(t[3])
  local last = math.min(opened + POLICY.attempt_timeout, tonumber(t[4]))
  if t[5] and t[5] ~= '' and not t[1] then last = math.min(last, opened + tonumber(t[5])) end
  EXCUSED = EXCUSED or tonumber(redis.call('GET', 'relay:excused_ms') or '0')
  return {state = t[2], last = math.max(last, EXCUSED), taken = math.max(opened + POLICY.taken, EXCUSED), opened = opened}
end

-- A lease that ended: the attempt is lost whatever its holder still does.
local function lose(attempt)
  local id, number = split(attempt)
  local holder = redis.call('HGET', task(id), 'attempt_node:' .. int(number))
  if redis.call('HGET', task(id), 'attempt_state:' .. int(number)) ~= 'open' then
    redis.call('ZREM', 'relay:leases', attempt)
    return
  end
  local stages, seen = stages_of(id, number), tonumber(redis.call('HGET', 'relay:node:' .. holder, 'seen_ms') or '0')
  -- a node that has missed two heartbeats running is silent, whatever else is late: one silence, not one blame for each attempt
  local late = NOW - seen <= 2 * POLICY.heartbeat
    and (NOW >= stages.last or stages.state == 'assigned' and NOW >= stages.taken and seen > stages.opened)
  close_attempt(id, number, holder, 'lost', late and 'late' or 'silent')
  if late then
    tell(holder, attempt)
    try_again(id, holder, true, 'UPSTREAM_TIMEOUT', 'No node answered the task in time. Send the request again.', '504')
  else try_again(id, holder, 'silent', LOST_CODE, LOST_MESSAGE, LOST_STATUS) end
  fill(holder)
end
