-- The turns of a conversation go back to the node that has what was said so far in its cache. A wish, never more: a node that is busy is
-- waited for only while others are free, only for affinity_wait, and only if it is likely to be free by then.
--
-- relay:prefix:{digest}  string  the node that was last given a request which begins so (lifecycle/conversation.py), for affinity_ttl
-- relay:wants:{node}     zset    task that waits for this node alone, in no line -> its number
-- relay:patient          zset    the same of all nodes -> until when (ms); from then on anybody has it
-- Task fields: prefix (its own digest), wants (the node; kept while it waits in a line too)

-- The live node that had the newest of the turns before: `prefixes` are digests, the request's own first, then from the newest on.
local function node_of(model, prefixes)
  local keys = {}
  for digest in string.gmatch(prefixes, '%S+') do keys[#keys + 1] = 'relay:prefix:' .. digest end
  if not keys[2] then return nil end
  for _, node in ipairs(redis.call('MGET', unpack(keys, 2))) do
    if node and redis.call('SISMEMBER', 'relay:serving:' .. model, node) == 1 then return node end
  end
end

local function remember(prefix, node)
  if prefix and POLICY.affinity_ttl > 0 then
    redis.call('SET', 'relay:prefix:' .. prefix, node, 'PX', int(POLICY.affinity_ttl))
  end
end

-- Lets a task wait for a node that is busy, and for no other. Whether it may: not where it would hardly have its turn in time, by how
-- long the node takes for an answer and by those that wait for it already.
local function await(id, node, model)
  local slots = allowance(node, tonumber(redis.call('HGET', 'relay:node:' .. node, 'slots') or '0'), model)
  local turn = redis.call('ZCARD', 'relay:wants:' .. node) + 1
  local answer = expected(standing_of(node, model).paces[model], pace_of_model(model).tokens)
  if turn > slots or answer * turn / slots > POLICY.affinity_wait then return false end
  redis.call('ZADD', 'relay:wants:' .. node, redis.call('HGET', task(id), 'order'), id)
  redis.call('ZADD', 'relay:patient', int(NOW + POLICY.affinity_wait), id)
  return true
end

local function stop_awaiting(id, node)
  if node and redis.call('ZREM', 'relay:patient', id) == 1 then redis.call('ZREM', 'relay:wants:' .. node, id) end
end

-- The first task that waits for this node, which may serve other models by now.
local function awaits(node)
  local id = redis.call('ZRANGE', 'relay:wants:' .. node, 0, 0)[1]
  if id and redis.call('SISMEMBER', 'relay:serving:' .. redis.call('HGET', task(id), 'model'), node) == 1 then return id end
end

-- Takes tasks that have waited for long enough; the caller gives them to anybody.
local function waited_enough(limit)
  local ids = redis.call('ZRANGEBYSCORE', 'relay:patient', '-inf', int(NOW), 'LIMIT', 0, limit)
  for _, id in ipairs(ids) do stop_awaiting(id, redis.call('HGET', task(id), 'wants')) end
  return ids
end
