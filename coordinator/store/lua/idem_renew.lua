-- arg: lease_ms, then claim token...: direct calls that this process runs
local until_ms = int(NOW + tonumber(arg(1)))
for i = 2, #ARGV, 2 do
  if redis.call('HGET', arg(i), 'token') == arg(i + 1) then redis.call('HSET', arg(i), 'until_ms', until_ms) end
end
return 'OK'
