-- What is known of a node, as it is now. arg: node
-- Returns {alive(0|1), condition, ms until it is tried again, successes, faults, timeouts, then of each measured model: model, first, tps
-- ('' for what has no tokens)}
local node = arg(1)
local s = standing_of(node)
local left = math.max(s.until_ms - NOW, 0)
if s.condition == 'suspended' and left == 0 then s.condition = 'probation' end
local row = {redis.call('ZSCORE', 'relay:nodes', node) and 1 or 0, s.condition, int(left), decimal(s.successes), decimal(s.faults), decimal(s.timeouts)}
for _, name in ipairs(redis.call('HKEYS', standing(node))) do
  local model = string.match(name, '^first:(.*)$')
  if model then
    local pace = redis.call('HMGET', standing(node), name, 'tps:' .. model)
    for _, value in ipairs({model, pace[1], pace[2] or ''}) do table.insert(row, value) end
  end
end
return row
