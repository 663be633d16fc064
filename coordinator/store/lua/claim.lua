-- An API process takes the first waiting asynchronous direct task. arg: owner   Returns {id, number, model, request, endpoint} or nil
local first = redis.call('ZRANGE', 'relay:line-direct', 0, 0)
if not first[1] then return false end
local id = first[1]
start_from(id, 'line-direct')
local number = open_attempt(id, arg(1))
move(id, 'running')
local t = redis.call('HMGET', task(id), 'model', 'request', 'endpoint')
return {id, number, t[1], t[2], t[3] or 'chat/completions'}
