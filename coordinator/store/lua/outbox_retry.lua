-- An operator asks for another try of a leg that was given up. A settlement that failed with its opening comes back with it.
-- arg: leg id
local leg, id = arg(1), arg(2)
if state(id, leg) ~= 'failed' then return {'GONE'} end
local settlement_too = leg == 'opening' and state(id, 'settlement') == 'failed'
  and redis.call('HGET', record(id), 'settlement_error') == 'OPENING_FAILED'
redis.call('HDEL', record(id), leg .. '_tries')
pend(id, leg, NOW, '')
if settlement_too then pend(id, 'settlement', NOW, '') end
return {'OK'}
