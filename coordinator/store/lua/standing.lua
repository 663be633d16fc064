-- What is known of a node, as it is now. arg: node
-- Returns {alive(0|1), condition, ms until it is tried again, successes, faults, timeouts, then of each measured model: model, first, tps
-- (0 for what has no tokens)}
local node = arg(1)
local s = standing_of(node)
local left = math.max(s.until_ms - NOW, 0)
if s.condition == 'suspended' and left == 0 then s.condition = 'probation' end
local row = {redis.call('ZSCORE', 'relay:nodes', node) and 1 or 0, s.condition, int(left), decimal(s.successes), decimal(s.faults), decimal(s.timeouts)}
for _, name in ipairs(redis.call('HKEYS', standing(node))) do
  local model = string.match(name, '^pace:(.*)$')
  if model then
    local pace = standing_of(node, model).paces[model]
    if pace.first > 0 then
      for _, value in ipairs({model, decimal(pace.first), decimal(pace.tps)}) do table.insert(row, value) end
    end
  end
end
return row
