-- A key's tasks, newest first; expired ones are passed over. arg: caller after(id, '' for the newest) limit field...
-- Returns {what, now_ms, more(0|1), the last one looked at, {id, row (see show)}...}: what is OK, or unknown when `after` isn't listed
local mine, after, limit, names = 'relay:tasks:' .. arg(1), arg(2), tonumber(arg(3)), {}
for i = 4, #ARGV do names[i - 3] = arg(i) end
local PAGE, FARTHEST = 100, 5000  -- expired ones that one call looks at
local page = {'OK', int(NOW), 0, after}
local at = 0
if after ~= '' then
  local rank = redis.call('ZREVRANK', mine, after)
  -- the list is cut at its old end: nothing is left behind one that has expired
  if not rank then return {redis.call('EXISTS', 'relay:gone:' .. after) == 1 and 'OK' or 'unknown', int(NOW), 0, after} end
  at = rank + 1
end
local last = at + FARTHEST
while at < last do
  local ids = redis.call('ZREVRANGE', mine, at, at + PAGE - 1)
  for _, id in ipairs(ids) do
    local row = show(id, names)
    if row and #page == limit + 4 then page[3] = 1 return page end
    if row then table.insert(page, {id, row}) end
    page[4] = id
  end
  if #ids < PAGE then return page end
  at = at + PAGE
end
page[3] = 1
return page
