-- Fields of a task. arg: id field...   Returns {now_ms, tombstone(0|1), values...}: one round trip for a poll.
local id, names = arg(1), {}
for i = 2, #ARGV - 6 do names[i - 1] = arg(i) end
local found = redis.call('HMGET', task(id), unpack(names))
-- the state is always asked for first; without it there is no task
local gone = 0
if not found[1] then gone = redis.call('EXISTS', 'relay:gone:' .. id) end
return {int(NOW), gone, unpack(found, 1, #names)}
