-- Ends a node's session and lets it open no other. arg: node reason
-- Returns its broker users: whoever bans removes them at once, and if he can't, whoever sweeps.
redis.call('HSET', 'relay:banned', arg(1), arg(2))
local n = redis.call('HMGET', 'relay:node:' .. arg(1), 'session', 'previous')
local users = {}
for _, session in ipairs({n[1] or '', n[2] or ''}) do
  if session ~= '' then table.insert(users, user_of(arg(1), session)) end
end
end_session(arg(1))
take_all(arg(1))
return users
