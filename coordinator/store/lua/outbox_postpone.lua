-- Pending legs that would only be skipped now.
-- arg: leg delay_ms reason id ...
local leg, due, reason = arg(1), NOW + tonumber(arg(2)), arg(3)
for i = 5, #ARGV do
  if state(ARGV[i], leg) == 'pending' then
    redis.call('ZADD', OUTBOX[leg], int(due), ARGV[i])
    redis.call('HSET', record(ARGV[i]), leg .. '_error', reason)
  end
end
return {'OK'}
