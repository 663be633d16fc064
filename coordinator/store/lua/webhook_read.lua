-- One delivery of an account. arg: id account   Returns {next_ms or '', {field, value, ...}} or nil
local id = arg(1)
if redis.call('HGET', hook(id), 'account') ~= arg(2) then return false end
return {hook_next(id), redis.call('HGETALL', hook(id))}
