-- Where a batch was mined, and what that means for each of its legs. Also for a batch that is mined again in another block.
-- arg: batch (members: those that are done) verdicts ([{task_id, move, tx_hash, block, gas, reason, delay_ms, counts}]) max_tries
-- Returns {OK, id, ...}: those that have failed
local text, verdicts, most = arg(1), cjson.decode(arg(2)), tonumber(arg(3))
local batch = cjson.decode(text)
local leg = batch.leg

-- each returns whether the leg has failed
local apply = {}

function apply.done(id, v)
  -- mined once more after a rewind: what was confirmed is to be confirmed anew
  if state(id, leg) == 'confirmed' then move(id, leg, 'pending') end
  if state(id, leg) == 'pending' then move(id, leg, 'sent') end
  redis.call('HSET', record(id), leg .. '_tx', v.tx_hash, leg .. '_block', int(v.block), leg .. '_gas', int(v.gas))
  redis.call('HDEL', record(id), leg .. '_error', leg .. '_tries')
  return false
end

function apply.retry(id, v)
  return back(id, leg, NOW + v.delay_ms, v.reason, v.counts and most or 0)
end

function apply.failed(id, v)
  if state(id, leg) == 'confirmed' then move(id, leg, 'pending') end
  fail(id, leg, v.reason)
  return true
end

function apply.reopen(id, v)
  if back(id, leg, NOW + v.delay_ms, v.reason, most) then return true end
  local opening = state(id, 'opening')
  if opening ~= 'failed' and may(opening, 'pending') then pend(id, 'opening', NOW, v.reason) end
  return false
end

local failed = {'OK'}
for _, v in ipairs(verdicts) do
  if owns(batch, v.task_id) and apply[v.move](v.task_id, v) then table.insert(failed, v.task_id) end
end
unlist(batch.id)
if #batch.members == 0 then
  redis.call('DEL', batch_key(batch.id))
else
  redis.call('SET', batch_key(batch.id), text)
  redis.call('ZADD', 'relay:chain:mined', int(batch.mined.block_number), batch.id)
end
return failed
