-- Loaded in front of every script of this folder, after the generated table MOVES (see scripts.py).
--
-- relay:task:{id}       hash   the task; fields below
-- relay:gone:{id}       string tombstone: tells an expired id from one that never was
-- relay:deadlines       zset   unfinished task -> when it is given up (ms)
-- relay:line:{model}    zset   waiting task -> its place; a task that lost its node keeps its place, so it is first
-- relay:line-direct     zset   the same for asynchronous direct tasks, taken by API processes
-- relay:lines           set    models whose line is not empty
-- relay:leases          zset   open attempt ({id}#{number}) -> when the lease ends (ms)
-- relay:held:{node}     set    open attempts of a node; their count against `slots` is its load
-- relay:node:{node}     hash   session, slots, models (one a line), draining, and what operators want to see
-- relay:nodes           zset   node -> alive until (ms)
-- relay:serving:{model} set    live nodes that serve the model
-- relay:free:{model}    zset   those of them with a free slot -> load (held / slots)
-- relay:record:{id}     hash   what the chain has to hold of the task; relay:outbox:open, relay:outbox:settle zset
-- relay:tasks:{key}     zset   a key's own tasks -> created_ms; expired ones leave it as new ones come
-- relay:open:{caller}   set    a caller's unfinished tasks; their count against what it may have at a time
-- relay:idem:{caller}:{sha256 of Idempotency-Key}  hash  see idem_claim.lua
-- relay:account:… relay:hold:… relay:ledger:… relay:usage:…  see money_prelude.lua
-- relay:webhook:{id} relay:webhooks:…  see webhook_prelude.lua
-- relay:chain_head      string the newest block that the chain writer has seen
-- broker:{node}:node.{node}    list  the node's Celery queue
--
-- Task fields: state mode model endpoint caller request salt request_hash task_key task_address order created_ms deadline_ms
--   attempt (number of the newest) node tries tried attempt_state:{n} attempt_node:{n} assigned_ms ended_ms
--   answer tokens_in tokens_out (as counted for its price) response_hash receipt receipt_signature error_code error_message error_status
--   webhook ('1' when its end is to be told)
--
-- All times are this server's, in unix milliseconds: leases are judged by one clock.

local POLICY = {
  lease = tonumber(ARGV[1]), attempt_timeout = tonumber(ARGV[2]), tries = tonumber(ARGV[3]),
  result_ttl = tonumber(ARGV[4]), tombstone_ttl = tonumber(ARGV[5]), line = tonumber(ARGV[6]),
}
local SCAN = 16  -- how far a line or a free list is searched for a pair that has not been tried yet

local function arg(i) return ARGV[6 + i] end
local function int(n) return string.format('%.0f', n) end
local clock = redis.call('TIME')
local NOW = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function task(id) return 'relay:task:' .. id end
local function split(attempt) local id, n = string.match(attempt, '^(.*)#(%d+)$') return id, tonumber(n) end

local function move(id, target)
  local current = redis.call('HGET', task(id), 'state')
  if not current or not MOVES.task[current][target] then
    error('ILLEGAL task ' .. tostring(current) .. ' -> ' .. target)
  end
  redis.call('HSET', task(id), 'state', target)
end

local function move_attempt(id, number, target)
  local field = 'attempt_state:' .. int(number)
  local current = redis.call('HGET', task(id), field)
  if not current or not MOVES.attempt[current][target] then
    error('ILLEGAL attempt ' .. tostring(current) .. ' -> ' .. target)
  end
  redis.call('HSET', task(id), field, target)
end

-- Whether a request's claim on its Idempotency-Key still stands ('' has none): nothing is written for one that was given up.
local function holds(claim, token) return claim == '' or redis.call('HGET', claim, 'token') == token end

-- Puts a task into its key's list. Guests have none.
local function list_task(id, caller, created)
  if string.sub(caller, 1, 4) ~= 'key_' then return end
  local mine = 'relay:tasks:' .. caller
  redis.call('ZADD', mine, created, id)
  redis.call('EXPIRE', mine, POLICY.result_ttl + POLICY.tombstone_ttl)
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', mine, '-inf', int(NOW - POLICY.result_ttl * 1000), 'LIMIT', 0, 4)) do
    if redis.call('EXISTS', task(old)) == 0 then redis.call('ZREM', mine, old) end
  end
end

-- What is shown of a task: {position, waiting_for, settlement, its tx, its block, chain head, fields...}, nil where there is none.
-- The first fields asked for are state, mode and model.
local function show(id, names)
  local found = redis.call('HMGET', task(id), unpack(names))
  local state, mode, model = found[1], found[2], found[3]
  if not state then return nil end
  local row = {false, false, false, false, false, false}
  if state == 'waiting' then
    row[1] = (redis.call('ZRANK', mode == 'opengpu' and 'relay:line:' .. model or 'relay:line-direct', id) or 0) + 1
    row[2] = mode == 'opengpu' and redis.call('SCARD', 'relay:serving:' .. model) == 0 and 'node' or 'slot'
  elseif state == 'assigned' then row[1], row[2] = 0, 'start'
  elseif mode == 'opengpu' and not next(MOVES.task[state]) then
    local record = redis.call('HMGET', 'relay:record:' .. id, 'settlement', 'settlement_tx', 'settlement_block')
    row[3], row[4], row[5], row[6] = record[1], record[2], record[3], redis.call('GET', 'relay:chain_head')
  end
  for i = 1, #names do row[6 + i] = found[i] end
  return row
end

-- A node's place in the free lists of its models. Returns its free slots (0 for one that is draining or not alive).
local function refresh(node)
  local n = redis.call('HMGET', 'relay:node:' .. node, 'slots', 'models', 'draining')
  if not n[1] then return 0 end
  local slots, held = tonumber(n[1]), redis.call('SCARD', 'relay:held:' .. node)
  local free = slots - held
  if n[3] == '1' or not redis.call('ZSCORE', 'relay:nodes', node) then free = 0 end
  for model in string.gmatch(n[2], '[^\n]+') do
    if free > 0 then redis.call('ZADD', 'relay:free:' .. model, held / slots, node)
    else redis.call('ZREM', 'relay:free:' .. model, node) end
  end
  return math.max(free, 0)
end

local function enter_line(id, model, order)
  redis.call('ZADD', 'relay:line:' .. model, order, id)
  redis.call('SADD', 'relay:lines', model)
end

local function leave_line(id, model)
  redis.call('ZREM', 'relay:line:' .. model, id)
  if redis.call('EXISTS', 'relay:line:' .. model) == 0 then redis.call('SREM', 'relay:lines', model) end
end

-- Celery's message protocol 2, as kombu's Redis transport takes it from a list (CELERY_ON_REDIS.md; a test with a stock worker guards it).
-- `tag` and `arguments` are JSON.
local function send(node, name, tag, arguments)
  local q = cjson.encode
  local body = '[[' .. arguments .. '],{},{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'
  local queue = 'node.' .. node
  redis.call('LPUSH', 'broker:' .. node .. ':' .. queue,
    '{"body":' .. q(body) .. ',"content-encoding":"utf-8","content-type":"application/json","headers":{"lang":"py","task":"' .. name .. '","id":'
    .. tag .. ',"root_id":' .. tag .. ',"parent_id":null,"group":null,"retries":0,"eta":null,"expires":null,"timelimit":[null,null],"argsrepr":"","kwargsrepr":"","origin":"coordinator","ignore_result":true},"properties":{"correlation_id":'
    .. tag .. ',"reply_to":"","delivery_mode":2,"delivery_info":{"exchange":"","routing_key":' .. q(queue) .. '},"priority":0,"delivery_tag":' .. tag .. '}}')
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
  local names = {'model', 'endpoint', 'request', 'salt', 'request_hash', 'task_address', 'deadline_ms'}
  local values, t = redis.call('HMGET', task(id), unpack(names)), {}
  for i, name in ipairs(names) do t[name] = values[i] end
  leave_line(id, t.model)
  local number = open_attempt(id, node)
  publish(node, id, number, t)
  refresh(node)
end

local function was_tried(tried, node) return tried and string.find(tried, node, 1, true) end

-- Whether somebody alive serves the model and has not had this task yet.
local function fresh_node_lives(model, tried)
  for _, node in ipairs(redis.call('SMEMBERS', 'relay:serving:' .. model)) do
    if not was_tried(tried, node) then return true end
  end
  return false
end

-- Gives a waiting opengpu task to the least loaded free node that has not had it, else puts it into the line. Returns the node or nil.
local function give(id)
  local t = redis.call('HMGET', task(id), 'model', 'tried', 'order')
  local model, tried, chosen = t[1], t[2], nil
  local free = redis.call('ZRANGE', 'relay:free:' .. model, 0, SCAN - 1)
  for _, node in ipairs(free) do
    if not was_tried(tried, node) then chosen = node break end
  end
  if not chosen and free[1] and not fresh_node_lives(model, tried) then chosen = free[1] end
  if chosen then assign(id, chosen) else enter_line(id, model, t[3]) end
  return chosen
end

-- Of one model's line, the first task that this node should have: {id, place} or nil.
local function first_for(node, model)
  local line = redis.call('ZRANGE', 'relay:line:' .. model, 0, SCAN - 1, 'WITHSCORES')
  for i = 1, #line, 2 do
    local tried = redis.call('HGET', task(line[i]), 'tried')
    if not was_tried(tried, node) or not fresh_node_lives(model, tried) then return {line[i], tonumber(line[i + 1])} end
  end
end

-- Fills a node's free slots from the lines of its models, oldest first.
local function fill(node)
  local free, given = refresh(node), 0
  local models = redis.call('HGET', 'relay:node:' .. node, 'models') or ''
  while free > 0 do
    local best
    for model in string.gmatch(models, '[^\n]+') do
      local candidate = first_for(node, model)
      if candidate and (not best or candidate[2] < best[2]) then best = candidate end
    end
    if not best then return given end
    assign(best[1], node)
    free, given = free - 1, given + 1
  end
  return given
end

local function close_attempt(id, number, holder, state)
  move_attempt(id, number, state)
  local attempt = id .. '#' .. int(number)
  redis.call('SREM', 'relay:held:' .. holder, attempt)
  redis.call('ZREM', 'relay:leases', attempt)
end

-- Ends a task: nothing of it is left in lines; it expires by policy, leaves a tombstone, and its record goes to the outbox.
local function end_task(id, state)
  local t = redis.call('HMGET', task(id), 'mode', 'model', 'caller', 'tokens_in', 'tokens_out', 'webhook')
  move(id, state)
  settle(id, state == 'completed', t[4], t[5], NOW)
  redis.call('HSET', task(id), 'ended_ms', int(NOW))
  redis.call('EXPIRE', task(id), POLICY.result_ttl)
  redis.call('SET', 'relay:gone:' .. id, '1', 'EX', POLICY.result_ttl + POLICY.tombstone_ttl)
  redis.call('ZREM', 'relay:deadlines', id)
  redis.call('SREM', 'relay:open:' .. t[3], id)
  if t[1] == 'opengpu' then
    leave_line(id, t[2])
    redis.call('HSET', 'relay:record:' .. id, 'settlement', 'pending', 'outcome', state)
    redis.call('ZADD', 'relay:outbox:settle', int(NOW), id)
  else
    redis.call('ZREM', 'relay:line-direct', id)
  end
  if t[6] then hook_ended(id, state, NOW) end
  redis.call('PUBLISH', 'relay:ended', id)
end

local function fail_task(id, code, message, status)
  redis.call('HSET', task(id), 'error_code', code, 'error_message', message, 'error_status', status)
  if redis.call('HGET', task(id), 'mode') == 'opengpu' then redis.call('HSET', 'relay:record:' .. id, 'code', code) end
  end_task(id, 'failed')
end

-- After an attempt has come to nothing: another try, first in line, or the task's honest end.
local function try_again(id, holder, counts, code, message, status)
  if counts then
    local tries = redis.call('HINCRBY', task(id), 'tries', 1)
    redis.call('HSET', task(id), 'tried', (redis.call('HGET', task(id), 'tried') or '') .. ' ' .. holder)
    if tries >= POLICY.tries then return fail_task(id, code, message, status) end
  end
  move(id, 'waiting')
  if redis.call('HGET', task(id), 'mode') == 'opengpu' then give(id)
  else
    redis.call('ZADD', 'relay:line-direct', redis.call('HGET', task(id), 'order'), id)
    redis.call('PUBLISH', 'relay:direct', id)
  end
end

-- A lease that ended: the attempt is lost whatever its holder still does.
local function lose(attempt)
  local id, number = split(attempt)
  local holder = redis.call('HGET', task(id), 'attempt_node:' .. int(number))
  if redis.call('HGET', task(id), 'attempt_state:' .. int(number)) ~= 'open' then
    redis.call('ZREM', 'relay:leases', attempt)
    return
  end
  close_attempt(id, number, holder, 'lost')
  try_again(id, holder, true, 'UPSTREAM_ERROR', 'Every node that took the task was lost. Send the request again.', '502')
  fill(holder)
end
