-- Forgets a batch that the chain doesn't have and never will; its legs are pending again, in their old places.
-- arg: batch id, reason, max_tries (0: it doesn't count)
-- Returns {OK, id, ...}: those that have failed
local id, reason, most = arg(1), arg(2), tonumber(arg(3))
local text = redis.call('GET', batch_key(id))
if not text then return {'OK'} end
local failed = {'OK'}
local batch = cjson.decode(text)
for _, member in ipairs(batch.members) do
  if owns(batch, member.task_id) and may(state(member.task_id, batch.leg), 'pending') then
    if back(member.task_id, batch.leg, member.due_ms, reason, most) then table.insert(failed, member.task_id) end
  end
end
unlist(id)
redis.call('DEL', batch_key(id))
return failed
