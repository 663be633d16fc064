-- Pays into an account, or takes back what is left of it. arg: account nano most_nano nonce
-- Returns {OK | too_much | too_little, left_nano}; a repetition (same nonce) changes nothing
local account, amount, most = 'relay:account:' .. arg(1), tonumber(arg(2)), tonumber(arg(3))
local left = tonumber(redis.call('HGET', account, 'left_nano') or '0')
if redis.call('EXISTS', 'relay:credited:' .. arg(4)) == 1 then return {'OK', nano(left)} end
if left + amount > most then return {'too_much', nano(left)} end
if left + amount < 0 then return {'too_little', nano(left)} end
redis.call('SET', 'relay:credited:' .. arg(4), '1', 'EX', '3600')
redis.call('HINCRBY', account, 'left_nano', nano(amount))
redis.call('HINCRBY', account, 'paid_nano', nano(amount))
redis.call('XADD', 'relay:ledger:' .. arg(1), '*', 'kind', 'credit', 'nano', nano(amount))
return {'OK', nano(left + amount)}
