-- What scripts of this folder use of it stands in front of them (see linking.py); so do the generated MOVES, POLICY and NONCE_MEMORY (scripts.py).
-- The other preludes follow it: money, webhook, stake, pace (how fast nodes are), standing (whom to trust with work), affinity, line (whose
-- turn it is), dispatch, session.
--
-- relay:task:{id}       hash   the task; fields below
-- relay:gone:{id}       string tombstone: tells an expired id from one that never was
-- relay:deadlines       zset   unfinished task -> when it is given up (ms)
-- relay:line:{model}    zset   waiting task -> its place; a task that lost its node keeps its place, so it is first
-- relay:line-direct     zset   the same for asynchronous direct tasks, taken by API processes; for both see line_prelude.lua
-- relay:lines           set    models whose line is not empty
-- relay:leases          zset   open attempt ({id}#{number}) -> when the lease ends (ms)
-- relay:held:{node}     set    open attempts of a node; their count against `slots` is its load
-- relay:node:{node}     hash   session, slots, models (one a line), draining, and what operators want to see
-- relay:nodes           zset   node -> alive until (ms)
-- relay:serving:{model} set    live nodes that serve the model
-- relay:free:{model}    zset   those of them with a free slot -> how good a choice each is, the lowest the best; see standing_prelude.lua
-- relay:record:{id}     hash   what the chain has to hold of the task; relay:outbox:open, relay:outbox:settle zset
-- relay:tasks:{key}     zset   a key's own tasks -> created_ms; expired ones leave it as new ones come
-- relay:open:{caller}   set    a caller's unfinished tasks; their count against what it may have at a time
-- relay:idem:{caller}:{sha256 of Idempotency-Key}  hash  see idem_claim.lua
-- relay:account:… relay:hold:… relay:ledger:… relay:usage:…  see money_prelude.lua
-- relay:webhook:{id} relay:webhooks:…  see webhook_prelude.lua
-- relay:chain_head      string the newest block that the chain writer has seen
-- relay:swept_ms relay:excused_ms  when time was last looked at; until when nobody is late, after an outage of ours
-- broker:{node}:node.{node}    list  the node's Celery queue
--
-- Task fields: state mode model endpoint caller request salt request_hash task_key task_address created_ms deadline_ms
--   order (its number), client and place (see line_prelude.lua)
--   attempt (number of the newest) node tries attempt_state:{n} attempt_node:{n} assigned_ms ended_ms
--   tried failed returned (nodes: that have had it to no end; of these, not by falling silent; that gave it back) lost_ms (when the last fell silent)
--   first_token_ms (after assigned_ms, '' none) answering:{n} (when its first token was told) blamed (see standing_prelude.lua)
--   answer tokens_in tokens_out (as counted for its price) response_hash receipt receipt_signature error_code error_message error_status
--   webhook ('1' when its end is to be told)
--
-- All times are this server's, in unix milliseconds: leases are judged by one clock.

-- Seconds, as EXPIRE takes them.
local RESULT_TTL, TOMBSTONE_TTL = math.floor(POLICY.result_ttl / 1000), math.floor(POLICY.tombstone_ttl / 1000)

local function arg(i) return ARGV[i] end
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
  redis.call('EXPIRE', mine, RESULT_TTL + TOMBSTONE_TTL)
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', mine, '-inf', int(NOW - POLICY.result_ttl), 'LIMIT', 0, 4)) do
    if redis.call('EXISTS', task(old)) == 0 then redis.call('ZREM', mine, old) end
  end
end
