-- What came of an attempt, fenced by its token. arg: id token (delivered | retry | failed) delay_ms http_status error
-- `delivered` is for a 2xx alone, `failed` for the last attempt.
-- Returns OK | LATE (nothing changed: the lease had ended and the attempt is somebody else's)
local id, what = arg(1), arg(3)
if redis.call('HGET', hook(id), 'token') ~= arg(2) then return 'LATE' end
local queue, account = hook_queue(id), redis.call('HGET', hook(id), 'account')
redis.call('HDEL', hook(id), 'token', 'http_status', 'error')
redis.call('ZREM', HOOKS .. 'held:' .. queue, id)
redis.call('ZREM', HOOKS .. 'busy:' .. account, id)
redis.call('ZREM', HOOKS .. 'line:' .. queue, id)
redis.call('HINCRBY', hook(id), 'tries', 1)
redis.call('HSET', hook(id), 'last_ms', int(NOW))
if arg(5) ~= '' then redis.call('HSET', hook(id), 'http_status', arg(5)) end
if arg(6) ~= '' then redis.call('HSET', hook(id), 'error', arg(6)) end
if what == 'retry' then
  redis.call('ZADD', HOOKS .. 'line:' .. queue, int(NOW + tonumber(arg(4))), id)
else
  hook_move(id, what)
  if what == 'delivered' then redis.call('HSET', hook(id), 'delivered_ms', int(NOW)) end
  redis.call('EXPIRE', hook(id), RESULT_TTL + TOMBSTONE_TTL)
end
hook_schedule(queue)
return 'OK'
