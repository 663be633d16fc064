-- The end of a call of which no task is kept. arg: id completed(0|1) tokens_in tokens_out bill (see bill_at)
-- A bill of nothing has no hold: it is counted here, once.
local id, bill = arg(1), bill_at(5)
if bill[9] == '0' then
  if not redis.call('SET', 'relay:counted:' .. id, '1', 'NX', 'EX', '3600') then return 'OK' end
  reserve(id, bill)
end
settle(id, arg(2) == '1', arg(3), arg(4), NOW)
return 'OK'
