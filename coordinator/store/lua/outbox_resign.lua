-- Stores another signed form of a batch that has not been mined, before it is broadcast.
-- arg: batch trouble (shown as the legs' error until they are mined; empty: none)
local text, trouble = arg(1), arg(2)
local batch = cjson.decode(text)
if not redis.call('ZSCORE', 'relay:chain:flight', batch.id) then return {'GONE'} end
for _, member in ipairs(batch.members) do
  if owns(batch, member.task_id) then
    redis.call('HSET', record(member.task_id), batch.leg .. '_tx', batch.signed[#batch.signed].tx_hash)
    if trouble ~= '' then redis.call('HSET', record(member.task_id), batch.leg .. '_error', trouble) end
  end
end
redis.call('SET', batch_key(batch.id), text)
return {'OK'}
