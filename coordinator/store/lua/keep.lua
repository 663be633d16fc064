-- A synchronous direct call that has ended, kept so that it can be polled.
-- arg: id model caller request created_ms state answer error_code error_message error_status claim token
--   tokens_in tokens_out bill (see bill_at; '' for nobody's)
-- Returns OK | exists | superseded
local id = arg(1)
if redis.call('EXISTS', task(id)) == 1 then return 'exists' end
if not holds(arg(11), arg(12)) then return 'superseded' end
redis.call('HSET', task(id), 'state', 'waiting', 'mode', 'direct', 'model', arg(2), 'caller', arg(3), 'request', arg(4),
  'created_ms', arg(5), 'attempt', '0')
list_task(id, arg(3), arg(5))
local bill = bill_at(15)
-- reserved before it ran, if it costs something; but another request with the same claim may have let go of that
if bill and arg(6) == 'completed' then reserve(id, bill) end
open_attempt(id, 'api')
close_attempt(id, 1, 'api', 'accepted')
if arg(6) == 'completed' then
  redis.call('HSET', task(id), 'answer', arg(7), 'tokens_in', arg(13), 'tokens_out', arg(14))
  end_task(id, 'completed')
else fail_task(id, arg(8), arg(9), arg(10)) end
return 'OK'
