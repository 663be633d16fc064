-- One caller's Idempotency-Key: what was asked under it, and as which task it runs.
-- relay:idem:{caller}:{sha256}  hash, 24 h:  body (a hash) task kind token (whoever runs it) until_ms (it has died since, if nothing came of it)
-- A request that holds the claim writes its task under the claim's id and token, or not at all: see `holds`.
-- arg: claim body task_id kind(async|task|direct) token joined(task id or '') lease_ms ttl_s
-- Returns {what, task_id}: fresh (the caller's to run) | accepted (as this task) | running (direct, elsewhere) | pending | reused
local claim, body, kind, token = arg(1), arg(2), arg(4), arg(5)

local function take(id)
  redis.call('HSET', claim, 'body', body, 'task', id, 'kind', kind, 'token', token, 'until_ms', int(NOW + tonumber(arg(7))))
  redis.call('EXPIRE', claim, arg(8))
  return {'fresh', id}
end

local c = redis.call('HMGET', claim, 'body', 'task', 'token', 'until_ms')
local id = c[2]
if not id then return take(arg(3)) end
if c[1] ~= body then return {'reused', id} end
local t = redis.call('HMGET', task(id), 'state', 'error_status')
if t[1] == 'failed' and kind ~= 'async' and id ~= arg(6) then
  -- it came to nothing for no fault of the client's, and cost nothing: the retry is worth another task
  local status = tonumber(t[2])
  if status == 429 or status >= 500 then return take(arg(3)) end
end
if t[1] or redis.call('EXISTS', 'relay:gone:' .. id) == 1 then return {'accepted', id} end
-- nobody runs it any more, and whoever did all the same writes nothing
if c[3] == token or tonumber(c[4]) <= NOW then return take(arg(3)) end
return {kind == 'direct' and 'running' or 'pending', id}
