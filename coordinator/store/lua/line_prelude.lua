-- Whose turn it is: the lines of waiting tasks.

local SCAN = 16  -- how far a line or a free list is searched for a pair that has not been tried yet

local function enter_line(id, model, order)
  redis.call('ZADD', 'relay:line:' .. model, order, id)
  redis.call('SADD', 'relay:lines', model)
end

local function leave_line(id, model)
  redis.call('ZREM', 'relay:line:' .. model, id)
  if redis.call('EXISTS', 'relay:line:' .. model) == 0 then redis.call('SREM', 'relay:lines', model) end
end

local function was_tried(tried, node) return tried and string.find(tried, node, 1, true) end

-- Whether somebody alive serves the model and has not had this task yet.
local function fresh_node_lives(model, tried)
  for _, node in ipairs(redis.call('SMEMBERS', 'relay:serving:' .. model)) do
    if not was_tried(tried, node) then return true end
  end
  return false
end

-- Of one model's line, the first task that this node should have: {id, place} or nil.
local function first_for(node, model)
  local line = redis.call('ZRANGE', 'relay:line:' .. model, 0, SCAN - 1, 'WITHSCORES')
  for i = 1, #line, 2 do
    local tried = redis.call('HGET', task(line[i]), 'tried')
    if not was_tried(tried, node) or not fresh_node_lives(model, tried) then return {line[i], tonumber(line[i + 1])} end
  end
end
