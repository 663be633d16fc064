-- A mined batch is deep enough.
-- arg: batch id, how many confirmed batches are remembered, how long a settled record is kept (s)
local id, remembered, kept = arg(1), tonumber(arg(2)), tonumber(arg(3))
local text = redis.call('GET', batch_key(id))
if not text or not redis.call('ZSCORE', 'relay:chain:mined', id) then return {'GONE'} end
local batch = cjson.decode(text)
for _, member in ipairs(batch.members) do
  if owns(batch, member.task_id) and state(member.task_id, batch.leg) == 'sent' then
    move(member.task_id, batch.leg, 'confirmed')
    -- nothing is left to write; until then a rewound chain can still be told everything again
    if batch.leg == 'settlement' then redis.call('EXPIRE', 'relay:record:' .. member.task_id, kept) end
  end
end
unlist(id)
redis.call('ZADD', 'relay:chain:confirmed', int(batch.mined.block_number), id)
while redis.call('ZCARD', 'relay:chain:confirmed') > remembered do
  redis.call('DEL', batch_key(redis.call('ZPOPMIN', 'relay:chain:confirmed')[1]))
end
return {'OK'}
