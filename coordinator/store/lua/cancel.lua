-- A client takes its task back. arg: id caller code message status
-- Whoever knows a guest's task may; a key's task only the key. An attempt is lost to its holder, whose next heartbeat
-- hears of it: that is asked for at once.
-- Returns canceled | ended (as it was) | foreign | unknown | expired
local id, caller = arg(1), arg(2)
local t = redis.call('HMGET', task(id), 'state', 'attempt', 'node', 'caller')
if not t[1] then return redis.call('EXISTS', 'relay:gone:' .. id) == 1 and 'expired' or 'unknown' end
if string.sub(t[4], 1, 4) == 'key_' and t[4] ~= caller then return 'foreign' end
if not next(MOVES.task[t[1]]) then return 'ended' end
excuse(id, true)
if t[1] == 'waiting' then fail_task(id, arg(3), arg(4), arg(5))
else
  close_attempt(id, tonumber(t[2]), t[3], 'lost')
  fail_task(id, arg(3), arg(4), arg(5))
  tell(t[3], id .. '#' .. t[2])
  fill(t[3])
end
return 'canceled'
