-- A delivery is wanted once more, or at once. One whose attempt runs stays as it is. arg: id account
-- Returns OK | unknown | waiting (the task has not ended)
local id = arg(1)
local h = redis.call('HMGET', hook(id), 'account', 'state')
if h[1] ~= arg(2) then return 'unknown' end
if h[2] == 'waiting' then return 'waiting' end
if redis.call('ZSCORE', HOOKS .. 'held:' .. hook_queue(id), id) then return 'OK' end
if h[2] ~= 'pending' then hook_move(id, 'pending') end
redis.call('HSET', hook(id), 'tries', '0')
redis.call('PERSIST', hook(id))
hook_due(id, NOW)
return 'OK'
