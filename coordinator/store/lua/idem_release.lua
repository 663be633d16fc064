-- The request under a claim was refused, or left by its client: the key is free again, unless there is a task after all.
-- With `doubt` (the store did not answer) it keeps its id, so that a retry finds what may have been written.
-- arg: claim token doubt(0|1)
local claim = arg(1)
local c = redis.call('HMGET', claim, 'token', 'task')
if c[1] ~= arg(2) then return 'OK' end
if arg(3) == '1' then redis.call('HSET', claim, 'until_ms', '0')
elseif redis.call('EXISTS', task(c[2])) == 0 and redis.call('EXISTS', 'relay:gone:' .. c[2]) == 0 then
  redis.call('DEL', claim)
  redis.call('PUBLISH', 'relay:ended', c[2])
end
return 'OK'
