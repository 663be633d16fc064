-- Admits a task: stored, in the outbox, and given to a node or put into the line, in one step.
-- arg: id mode model caller request salt task_key request_hash task_address task_timeout_ms endpoint claim token concurrent
--   bill (see bill_at; '' for nobody's)
--   and, last of all, prefixes (digests, see `node_of`), first_token_ms ('' none: until when an attempt's first token must have
--   come, after its start), client (whose turn it is to be), and url receiver account of its webhook, or three times ''
-- Returns {what, now_ms}: assigned | waiting | exists (a repeated submit changes nothing) | no_node | superseded
--   | busy (the caller has `concurrent` unfinished tasks and direct calls already, see admit.lua; '' for any number)
-- or {full, now_ms, ms until there is a place, ms that the line takes}: see `full`
-- or {budget | credits, now_ms, left_nano}: what it can cost at most is more than is left
local id, mode, model = arg(1), arg(2), arg(3)
if redis.call('EXISTS', task(id)) == 1 then return {'exists', int(NOW)} end
if not holds(arg(12), arg(13)) then return {'superseded', int(NOW)} end
if arg(14) ~= '' and redis.call('SCARD', 'relay:open:' .. arg(4))
  + redis.call('ZCOUNT', 'relay:calls:' .. arg(4), int(NOW * 1000), '+inf') >= tonumber(arg(14)) then return {'busy', int(NOW)} end
if mode == 'opengpu' and redis.call('SCARD', 'relay:serving:' .. model) == 0 then return {'no_node', int(NOW)} end
local line, client = line_of(mode, model), ARGV[#ARGV - 3]
local no_place = full(line, client)
if no_place then return {'full', int(NOW), no_place[1], no_place[2]} end
local bill = bill_at(15)
if bill then
  local why, left = reserve(id, bill)
  if why then return {why, int(NOW), nano(left)} end
end

local order = int(redis.call('INCR', 'relay:order'))
local deadline = int(NOW + tonumber(arg(10)))
redis.call('HSET', task(id), 'state', 'waiting', 'mode', mode, 'model', model, 'caller', arg(4), 'request', arg(5),
  'endpoint', arg(11), 'order', order, 'client', client, 'created_ms', int(NOW), 'deadline_ms', deadline, 'attempt', '0', 'tries', '0',
  'first_token_ms', ARGV[#ARGV - 4])
redis.call('ZADD', 'relay:deadlines', deadline, id)
redis.call('SADD', 'relay:open:' .. arg(4), id)
list_task(id, arg(4), int(NOW))
local url, receiver, account = ARGV[#ARGV - 2], ARGV[#ARGV - 1], ARGV[#ARGV]
if url ~= '' then
  redis.call('HSET', task(id), 'webhook', '1')
  hook_add(id, url, receiver, account, NOW, RESULT_TTL + TOMBSTONE_TTL)
end
if mode == 'direct' then
  enter_line(id, line)
  redis.call('PUBLISH', 'relay:direct', id)
  return {'waiting', int(NOW)}
end
redis.call('HSET', task(id), 'salt', arg(6), 'task_key', arg(7), 'request_hash', arg(8), 'task_address', arg(9))
redis.call('HSET', 'relay:record:' .. id, 'task_key', arg(7), 'request_hash', arg(8), 'task_address', arg(9),
  'opening', 'pending', 'settlement', 'none')
local prefixes = POLICY.affinity_ttl > 0 and ARGV[#ARGV - 5] or ''
local wants = node_of(model, prefixes)
if prefixes ~= '' then redis.call('HSET', task(id), 'prefix', string.match(prefixes, '%S+')) end
if wants then redis.call('HSET', task(id), 'wants', wants) end
redis.call('ZADD', 'relay:outbox:open', int(NOW), id)
-- whoever waits already comes first: a free node that has just shown up takes from the line, not the newcomer
if redis.call('EXISTS', 'relay:' .. line) == 1 then
  enter_line(id, line)
  local free = redis.call('ZRANGE', 'relay:free:' .. model, 0, 0)
  if free[1] then fill(free[1]) end
elseif wants then offer(id, model, wants)
else give(id) end
return {redis.call('HGET', task(id), 'state'), int(NOW)}
