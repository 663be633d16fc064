-- Nothing came of the request under a claim: the key is free again, unless there is a task after all. One that is still on its
-- way to the store has lost its claim by this (see `holds`). arg: claim token
local claim = arg(1)
local c = redis.call('HMGET', claim, 'token', 'task')
if c[1] == arg(2) and redis.call('EXISTS', task(c[2])) == 0 and redis.call('EXISTS', 'relay:gone:' .. c[2]) == 0 then
  redis.call('DEL', claim)
  redis.call('PUBLISH', 'relay:ended', c[2])
end
return 'OK'
