-- Pending legs that may go now, oldest first. Tidies up what can never go: a record that has expired, a leg that isn't
-- pending, a settlement whose opening was given up.
-- arg: leg limit
-- Returns {OK, {id, due_ms, {field, value, ...}}, ...}
local leg, limit = arg(1), tonumber(arg(2))
local PAGE, FARTHEST = 200, 5000  -- how far to look past settlements whose openings have not been sent
local found, at = {'OK'}, 0

-- true: may go; false: not yet; nil: taken out
local function sendable(id)
  if state(id, leg) ~= 'pending' then redis.call('ZREM', OUTBOX[leg], id) return nil end
  if leg == 'opening' then return true end
  local opening = state(id, 'opening')
  if opening == 'failed' then fail(id, leg, 'OPENING_FAILED') return nil end
  return opening == 'sent' or opening == 'confirmed'
end

while at < FARTHEST do
  local page = redis.call('ZRANGEBYSCORE', OUTBOX[leg], '-inf', int(NOW), 'WITHSCORES', 'LIMIT', at, PAGE)
  for i = 1, #page, 2 do
    local verdict = sendable(page[i])
    if verdict then table.insert(found, {page[i], page[i + 1], redis.call('HGETALL', record(page[i]))}) end
    if verdict ~= nil then at = at + 1 end
    if #found > limit then return found end
  end
  if #page < 2 * PAGE then return found end
end
return found
