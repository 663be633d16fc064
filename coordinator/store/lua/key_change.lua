-- Changes a key, if it is the account's. The keys are those of admit.lua.
-- arg: key id, account ('' for anybody's), verb, then
--   set: fields and values in turns; an empty value takes the field away
--   revoke | unrevoke | delete (of a revoked one)
--   topup: nano-dollars, most nano-dollars that a budget may have; a key without a budget gets one, from what it has spent on
-- Returns OK | unknown | active (a key in use is not deleted) | too_much
local id, account, verb = ARGV[1], ARGV[2], ARGV[3]
local digest = redis.call('GET', 'relay:keyid:' .. id)
if not digest then return 'unknown' end
local key = 'relay:key:' .. digest
local k = redis.call('HMGET', key, 'account', 'status', 'budget_nano', 'spent_nano')
if account ~= '' and k[1] ~= account then return 'unknown' end

if verb == 'set' then
  for i = 4, #ARGV, 2 do
    if ARGV[i + 1] == '' then redis.call('HDEL', key, ARGV[i]) else redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
  end
elseif verb == 'revoke' then
  if k[2] == 'revoked' then return 'OK' end
  local clock = redis.call('TIME')
  local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
  redis.call('HSET', key, 'status', 'revoked', 'revoked_ms', string.format('%.0f', now))
elseif verb == 'unrevoke' then
  redis.call('HSET', key, 'status', 'active')
  redis.call('HDEL', key, 'revoked_ms')
elseif verb == 'topup' then
  local budget = tonumber(k[3] or k[4] or '0') + tonumber(ARGV[4])
  if budget > tonumber(ARGV[5]) then return 'too_much' end
  redis.call('HSET', key, 'budget_nano', string.format('%.0f', budget))
elseif verb == 'delete' then
  if k[2] ~= 'revoked' then return 'active' end
  redis.call('DEL', key, 'relay:keyid:' .. id)
  redis.call('ZREM', 'relay:keys:' .. k[1], id)
else error('no such verb: ' .. verb) end
return 'OK'
