-- Stores a new batch before it is broadcast; all of its legs are sent from now on, or none.
-- arg: batch
-- Returns OK | REFUSED (a leg is not pending any more)
local text = arg(1)
local batch = cjson.decode(text)
for _, member in ipairs(batch.members) do
  if not may(state(member.task_id, batch.leg), 'sent') then return {'REFUSED'} end
end
for _, member in ipairs(batch.members) do
  local id, leg = member.task_id, batch.leg
  move(id, leg, 'sent')
  redis.call('HSET', record(id), leg .. '_batch', batch.id, leg .. '_tx', batch.signed[1].tx_hash)
  redis.call('HDEL', record(id), leg .. '_block', leg .. '_gas', leg .. '_error')
  redis.call('ZREM', OUTBOX[leg], id)
end
redis.call('SET', batch_key(batch.id), text)
redis.call('ZADD', 'relay:chain:flight', int(batch.nonce), batch.id)
return {'OK'}
