-- An account's signing secret, made when there is none. arg: account candidate keep_ms
-- keep_ms ('' changes nothing): the candidate takes over, and the one before stays valid for so long.
-- Returns {current, created_ms, previous, previous_until_ms}, the last two '' without
local key, candidate, keep = HOOKS .. 'secret:' .. arg(1), arg(2), tonumber(arg(3))
local s = hook_secrets(arg(1), candidate, NOW)
if keep and s[1] ~= candidate then
  redis.call('HSET', key, 'current', candidate, 'created_ms', int(NOW), 'previous', s[1], 'previous_until_ms', int(NOW + keep))
  s = hook_secrets(arg(1), candidate, NOW)
end
return s
