-- A pending leg that no batch can carry.
-- arg: leg id reason
local leg, id, reason = arg(1), arg(2), arg(3)
if state(id, leg) ~= 'pending' then return {'GONE'} end
fail(id, leg, reason)
return {'OK'}
