-- Sets aside what a direct call can cost at most. arg: id hold_ms bill (see bill_at)
-- Returns {OK} | {budget | credits, left_nano}; a repetition changes nothing
local id = arg(1)
local why, left = reserve(id, bill_at(3))
if why then return {why, nano(left)} end
redis.call('ZADD', 'relay:holds', int(NOW + tonumber(arg(2))), id)
return {'OK'}
