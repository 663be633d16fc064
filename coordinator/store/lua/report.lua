-- What became of an attempt, fenced by its number and holder. The caller has checked hashes and signature.
-- arg: id number holder outcome, then
--   completed: answer tokens_in tokens_out, and of opengpu tasks response_hash receipt receipt_signature prompt_tokens completion_tokens started_ms finished_ms payment_wei
--   refused (ends the task, the client's fault) | fault (counts, another try) | handed_back (another try, see give_back): code message status
-- Returns OK, or the reason why nothing changed: UNKNOWN_TASK FOREIGN_ATTEMPT DUPLICATE LATE
local id, number, holder, outcome = arg(1), tonumber(arg(2)), arg(3), arg(4)
if redis.call('EXISTS', task(id)) == 0 then return 'UNKNOWN_TASK' end
local a = redis.call('HMGET', task(id), 'attempt_node:' .. int(number), 'attempt_state:' .. int(number), 'mode')
if a[1] ~= holder then return 'FOREIGN_ATTEMPT' end
if a[2] == 'lost' then return 'LATE' end
if a[2] ~= 'open' then return 'DUPLICATE' end

if outcome == 'completed' then
  close_attempt(id, number, holder, 'accepted', 'completed', arg(7))
  redis.call('HSET', task(id), 'answer', arg(5), 'tokens_in', arg(6), 'tokens_out', arg(7))
  if a[3] == 'opengpu' then
    redis.call('HSET', task(id), 'response_hash', arg(8), 'receipt', arg(9), 'receipt_signature', arg(10))
    redis.call('HSET', 'relay:record:' .. id, 'response_hash', arg(8), 'node', holder, 'attempt', int(number), 'signature', arg(10),
      'prompt_tokens', arg(11), 'completion_tokens', arg(12), 'started_at_ms', arg(13), 'finished_at_ms', arg(14), 'payment_wei', arg(15))
  end
  end_task(id, 'completed')
elseif outcome == 'refused' then
  close_attempt(id, number, holder, 'accepted', 'refused')
  fail_task(id, arg(5), arg(6), arg(7))
elseif outcome == 'handed_back' then
  if redis.call('EXISTS', 'relay:node:' .. holder) == 1 then redis.call('HSET', 'relay:node:' .. holder, 'rests', '1') end
  refresh(holder)
  give_back(id, number, holder, 'failed', arg(5), arg(6), arg(7))
else
  -- a model server's own timeout is one, whoever says so; but a task may have waited for most of its time
  local late = arg(5) == 'UPSTREAM_TIMEOUT'
  local spent = late and NOW >= tonumber(redis.call('HGET', task(id), 'deadline_ms'))
  close_attempt(id, number, holder, 'failed', not spent and (late and 'late' or 'fault') or nil)
  try_again(id, holder, true, arg(5), arg(6), arg(7))
end
fill(holder)
return 'OK'
