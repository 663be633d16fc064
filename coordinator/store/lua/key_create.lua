-- A new key of an account, unless it has as many as it may. The keys are those of admit.lua.
-- arg: sha256, key id, account, most ('' for any number), then fields and values in turns   Returns OK | full
local digest, id, account, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if most and redis.call('ZCARD', 'relay:keys:' .. account) >= most then return 'full' end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
redis.call('HSET', 'relay:key:' .. digest, 'id', id, 'account', account, 'status', 'active', 'created_ms',
  string.format('%.0f', math.floor(now / 1000)), unpack(ARGV, 5))
redis.call('SET', 'relay:keyid:' .. id, digest)
redis.call('ZADD', 'relay:keys:' .. account, string.format('%.0f', now), id)
redis.call('SADD', 'relay:accounts', account)
return 'OK'
