-- Renews an API process's claims. arg: owner attempt...   Returns those that are no longer its own.
local gone = {}
for i = 2, #ARGV do
  if redis.call('SISMEMBER', 'relay:held:' .. arg(1), arg(i)) == 1 then
    redis.call('ZADD', 'relay:leases', int(NOW + POLICY.lease), arg(i))
  else table.insert(gone, arg(i)) end
end
return gone
