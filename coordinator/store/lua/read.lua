-- Fields of a task, and where it stands. arg: id field...   Returns {now_ms, row (see show)}, or {now_ms, tombstone(0|1)}:
-- one round trip for a poll.
local id, names = arg(1), {}
for i = 2, #ARGV do names[i - 1] = arg(i) end
local row = show(id, names)
if row then return {int(NOW), row} end
return {int(NOW), redis.call('EXISTS', 'relay:gone:' .. id)}
