-- Whose turn it is: the lines of waiting tasks, one a model, and one for all asynchronous direct tasks.
--
-- Start-time fair queueing over clients: a task that comes gets the tag after its client's last one in line, and at the least the one
-- after that of the newest start. So a line is served in rounds, one task of each client in each, the oldest first; and of a client
-- with 10,000 tasks in line one stands before another client's first. A client is an account, or a caller that has none.
--
-- `line` is 'line:{model}' or 'line-direct' here.
-- relay:{line}          zset   waiting task -> its place: tag * ROUND + order % ROUND, so that in a round the oldest is first
-- relay:tags:{line}     hash   client with tasks in line -> the tag of its newest
-- relay:queued:{line}   hash   client -> its tasks in line
-- relay:pace:{line}     hash   tag (of the newest start), turn (its number among the starts from any line), since_ms (of the newest start,
--                              or since somebody waits), starts and span_ms (decayed sums of starts and of the time they took while
--                              somebody waited; span_ms / starts is the line's pace)
-- relay:turn            string numbers the starts from any line

local AHEAD = 8  -- how far a round is searched for a conversation
local SCAN = 16  -- how far a free list is searched for a pair that has not been tried yet
-- How far a line is: a node that died with its slots full, and is back, has had as many of the first, and may have those behind them.
local FARTHEST = 512
-- Orders that differ by more than this don't meet in a line; tags have the other 31 bits of what a double holds.
local ROUND = 4194304
local PACE_HALF_LIFE = 60000  -- ms: what a minute of waiting has shown counts half a minute later

local function line_of(mode, model) return mode == 'opengpu' and 'line:' .. model or 'line-direct' end

-- A task's place: behind its client's others, or, `first`, before all that have not been started yet.
local function place_of(line, client, order, first)
  local newest = tonumber(redis.call('HGET', 'relay:pace:' .. line, 'tag') or '0')
  if not first then
    newest = math.max(newest, tonumber(redis.call('HGET', 'relay:tags:' .. line, client) or '0')) + 1
    redis.call('HSET', 'relay:tags:' .. line, client, int(newest))
  end
  return int(newest * ROUND + tonumber(order) % ROUND)
end

-- `first`: it has been with a node, or could have been, and is not overtaken by what came later. A place, once given, is kept.
local function enter_line(id, line, first)
  local t = redis.call('HMGET', task(id), 'place', 'client', 'order')
  local place = t[1] or place_of(line, t[2], t[3], first)
  redis.call('HSET', task(id), 'place', place)
  if redis.call('ZADD', 'relay:' .. line, place, id) == 0 then return end
  redis.call('HINCRBY', 'relay:queued:' .. line, t[2], 1)
  if redis.call('ZCARD', 'relay:' .. line) == 1 then
    redis.call('HSET', 'relay:pace:' .. line, 'since_ms', int(NOW))
    if line ~= 'line-direct' then redis.call('SADD', 'relay:lines', string.sub(line, 6)) end
  end
end

-- Whether it was in there.
local function leave_line(id, line)
  if redis.call('ZREM', 'relay:' .. line, id) == 0 then return false end
  local client = redis.call('HGET', task(id), 'client')
  if redis.call('HINCRBY', 'relay:queued:' .. line, client, -1) == 0 then
    redis.call('HDEL', 'relay:queued:' .. line, client)
    redis.call('HDEL', 'relay:tags:' .. line, client)
  end
  if line ~= 'line-direct' and redis.call('EXISTS', 'relay:' .. line) == 0 then
    redis.call('SREM', 'relay:lines', string.sub(line, 6))
  end
  return true
end

-- Takes a task that is about to start out of its line, if it is there: the round goes on, and the line's pace is measured.
local function start_from(id, line)
  local place = redis.call('ZSCORE', 'relay:' .. line, id)
  if not place or not leave_line(id, line) then return end
  local pace = 'relay:pace:' .. line
  local p = redis.call('HMGET', pace, 'tag', 'since_ms', 'starts', 'span_ms')
  local span = math.max(NOW - tonumber(p[2] or NOW), 0)
  local kept = 0.5 ^ (span / PACE_HALF_LIFE)
  redis.call('HSET', pace, 'tag', int(math.max(tonumber(p[1] or '0'), math.floor(tonumber(place) / ROUND))), 'since_ms', int(NOW),
    'turn', int(redis.call('INCR', 'relay:turn')), 'starts', string.format('%.6f', tonumber(p[3] or '0') * kept + 1),
    'span_ms', string.format('%.3f', tonumber(p[4] or '0') * kept + span))
end

-- How long `starts` more of them will take from now on, in ms; nil where nothing is known. One that is late already adds what it is late.
local function time_of(line, starts)
  local p = redis.call('HMGET', 'relay:pace:' .. line, 'starts', 'span_ms', 'since_ms')
  if not p[1] then return nil end
  local interval = tonumber(p[2]) / tonumber(p[1])
  return math.ceil(interval * starts + math.max(NOW - tonumber(p[3]) - interval, 0))
end

-- Whether a line has no place for one more of a client: it may have as many in there as there are free places left, so that nobody
-- fills a line alone. Returns nothing, or {ms until there is one for it, ms that the whole line takes}, -1 for what nobody knows.
local function full(line, client)
  local waiting = redis.call('ZCARD', 'relay:' .. line)
  local mine = tonumber(redis.call('HGET', 'relay:queued:' .. line, client) or '0')
  local over = mine - (POLICY.max_line - waiting) + 1
  if over <= 0 then return nil end
  return {time_of(line, over) or -1, time_of(line, waiting) or -1}
end

local function was_tried(tried, node) return tried and string.find(tried, node, 1, true) end

-- Whether somebody alive, and not suspended, serves the model and has not had this task yet: they are counted, since there may be thousands.
local function fresh_node_lives(model, tried)
  local serving, out, had, seen = 'relay:serving:' .. model, 'relay:suspended:' .. model, 0, {}
  for node in string.gmatch(tried or '', '%S+') do
    if not seen[node] then had = had + redis.call('SISMEMBER', serving, node) - redis.call('SISMEMBER', out, node) end
    seen[node] = true
  end
  return redis.call('SCARD', serving) - redis.call('SCARD', out) > had
end

-- Of one model's line, the task that this node should have, or nil: the first; but of a round, which is one task of each client, the first
-- whose conversation it has in its cache. That costs nobody more than his place in that round, and nobody who has lost a node before.
local function first_for(node, model)
  local found, round, last, others = nil, nil, nil, {}
  local function may_have(tried, failed, lost_ms)
    if lost_ms and NOW - tonumber(lost_ms) >= POLICY.lease then tried = failed end
    if not was_tried(tried, node) then return true end
    if others[tried] == nil then others[tried] = fresh_node_lives(model, tried) end
    return not others[tried]
  end
  for from = 0, FARTHEST - SCAN, SCAN do
    local line = redis.call('ZRANGE', 'relay:line:' .. model, from, from + SCAN - 1, 'WITHSCORES')
    for i = 1, #line, 2 do
      local id, tag, at = line[i], math.floor(tonumber(line[i + 1]) / ROUND), from + (i + 1) / 2
      if found and (tag > round or at > last) then return found end
      local t = redis.call('HMGET', task(id), 'tried', 'wants', 'attempt', 'failed', 'lost_ms')
      if (not found or t[2] == node) and may_have(t[1], t[4], t[5]) then
        if t[2] == node or t[3] ~= '0' then return id end
        found, round, last = id, tag, at + AHEAD - 1
      end
    end
    if #line < 2 * SCAN then return found end
  end
  return found
end

-- Of all lines of a node's models (one a line), the task that it should have next, or nil: of the line that was served the longest ago.
-- Not the one whose first task is the oldest: a line that one client has filled would come before all others.
local function next_for(node, models)
  local best, least
  for model in string.gmatch(models, '[^\n]+') do
    local id = first_for(node, model)
    local turn = id and tonumber(redis.call('HGET', 'relay:pace:line:' .. model, 'turn') or '0')
    if id and (not best or turn < least) then best, least = id, turn end
  end
  return best
end

-- What is shown of a task: {position, waiting_for, ms until it starts, settlement, its tx, its block, chain head, fields...}, nil where
-- there is none. The first fields asked for are state, mode and model.
local function show(id, names)
  local found = redis.call('HMGET', task(id), unpack(names))
  local state, mode, model = found[1], found[2], found[3]
  if not state then return nil end
  local row = {false, false, false, false, false, false, false}
  if state == 'waiting' then
    local line = line_of(mode, model)
    local ahead = redis.call('ZRANK', 'relay:' .. line, id)
    row[1] = (ahead or 0) + 1
    if mode == 'opengpu' and redis.call('SCARD', 'relay:serving:' .. model) == 0 then row[2] = 'node'
    else row[2], row[3] = 'slot', not ahead and POLICY.affinity_wait or time_of(line, row[1]) or false end
  elseif state == 'assigned' then row[1], row[2], row[3] = 0, 'start', 0
  elseif mode == 'opengpu' and not next(MOVES.task[state]) then
    local record = redis.call('HMGET', 'relay:record:' .. id, 'settlement', 'settlement_tx', 'settlement_block')
    row[4], row[5], row[6], row[7] = record[1], record[2], record[3], redis.call('GET', 'relay:chain_head')
  end
  for i = 1, #names do row[7 + i] = found[i] end
  return row
end
