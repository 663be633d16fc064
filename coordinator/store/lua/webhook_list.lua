-- An account's deliveries, newest first. arg: account after(id, '' for the newest) limit state('' for any)
-- Returns {more(0|1), the last one looked at, {id, next_ms or '', {field, value, ...}}...}
local mine, limit, wanted = HOOKS .. 'of:' .. arg(1), tonumber(arg(3)), arg(4)
local PAGE, FARTHEST = 100, 5000  -- deliveries that one call looks at
local page, at = {0, arg(2)}, 0
if arg(2) ~= '' then
  local rank = redis.call('ZREVRANK', mine, arg(2))
  if not rank then return page end
  at = rank + 1
end
local last = at + FARTHEST
while at < last do
  local ids = redis.call('ZREVRANGE', mine, at, at + PAGE - 1)
  for _, id in ipairs(ids) do
    local state = redis.call('HGET', hook(id), 'state')
    if state and (wanted == '' or state == wanted) then
      if #page == limit + 2 then page[1] = 1 return page end
      table.insert(page, {id, hook_next(id), redis.call('HGETALL', hook(id))})
    end
    page[2] = id
  end
  if #ids < PAGE then return page end
  at = at + PAGE
end
page[1] = 1
return page
