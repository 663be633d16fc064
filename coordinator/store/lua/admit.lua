-- Credentials, scopes and limits of one request, in one step. Loaded after the generated table TIERS alone (see keybook.py).
--
-- relay:key:{sha256}     hash   id name shown tier status account created_ms super scopes limit_opengpu limit_direct limit_global
--                               limit_concurrent budget_nano spent_nano held_nano revoked_ms used_ms; scopes is '\n' scope '\n' scope '\n'
-- relay:keyid:{key_id}   string the sha256
-- relay:keys:{account}   zset   key ids by when they were made (µs)
-- relay:accounts         set    those that have keys
-- relay:tat:{caller}     hash   bucket -> its theoretical arrival time (µs), of the generic cell rate algorithm: a bucket holds
--                               a minute's requests, and gets one back each interval
--
-- relay:calls:{caller}   zset   his direct calls that somebody waits for -> until when they count if nobody says that they ended (µs);
--                               with relay:open:{caller}, his unfinished tasks, they are what he may have so many of at a time
--
-- arg: sha256 of the key ('' for a guest), the guest's address, 1 to count the request or 0 to look,
--   an id for the call if it is to be waited for ('' if it becomes a task in any mode), how many choices, then each one's mode and scope,
--   then caller and id of calls that have ended
-- Returns {'unknown'} | {'revoked'} | {what, id, tier, account, super, concurrent, mode, bucket, limit, remaining, reset_us, retry_us}
--   what: ok | scope (not the key's) | tier (not the tier's) | rate | busy (as many calls and tasks as he may have at a time)

-- A Redis that restarts forgets the limits of the last minute, and who was here last; no request waits for a disk.
if redis.set_repl then redis.set_repl(redis.REPL_NONE) end  -- the fake has no log to keep out of

local MINUTE = 60000000
local CALL = 300000000  -- a process that was killed says of no call that it ended
local function int(n) return string.format('%.0f', n) end
local clock = redis.call('TIME')
local NOW = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

local last = 5 + 2 * tonumber(ARGV[5])
for i = last + 1, #ARGV, 2 do redis.call('ZREM', 'relay:calls:' .. ARGV[i], ARGV[i + 1]) end

local id, tier, account, super, scopes, own, used = 'guest:' .. ARGV[2], 'guest', '', '', nil, {}, NOW
if ARGV[1] ~= '' then
  local k = redis.call('HMGET', 'relay:key:' .. ARGV[1], 'id', 'status', 'tier', 'account', 'super', 'scopes',
    'limit_opengpu', 'limit_direct', 'limit_global', 'limit_concurrent', 'used_ms')
  if not k[1] then return {'unknown'} end
  if k[2] == 'revoked' then return {'revoked'} end
  id, tier, account, super, scopes = k[1], k[3] or 'basic', k[4] or '', k[5] or '', k[6]
  own, used = {opengpu = k[7], direct = k[8], global = k[9], concurrent = k[10]}, tonumber(k[11] or '0')
end
local T = TIERS[tier]
local function limit(name) return tonumber(own[name] or T[name]) end

local function refusal(scope)
  if scopes and not string.find(scopes, '\n' .. scope .. '\n', 1, true) then return 'scope' end
  if T.scopes and not T.scopes[scope] then return 'tier' end
end

local mode, refused = '', nil
for i = 6, last, 2 do
  local why = refusal(ARGV[i + 1])
  if not why then mode, refused = ARGV[i], nil break end
  refused = refused or why
end
if refused then return {refused, id, tier, account, super} end

local waits, busy, calls = ARGV[4] ~= '' and mode == 'direct', false, 'relay:calls:' .. id
if waits then
  redis.call('ZREMRANGEBYSCORE', calls, '-inf', int(NOW))
  busy = redis.call('ZCARD', calls) + redis.call('SCARD', 'relay:open:' .. id) >= limit('concurrent')
end

local names = mode == '' and {'global'} or {mode, 'global'}
local tats = redis.call('HMGET', 'relay:tat:' .. id, unpack(names))
local counted, kept, retry, tightest = ARGV[3] == '1' and not busy, {'HSET', 'relay:tat:' .. id}, 0, nil
for i, name in ipairs(names) do
  local most = limit(name)
  local interval = math.ceil(MINUTE / most)
  local room = interval * most
  -- no further ahead than a full bucket: a clock that is set back locks nobody out
  local tat = math.min(math.max(tonumber(tats[i] or '0'), NOW), NOW + room)
  local late = tat + interval - NOW - room
  local bucket = {name = name, limit = most, tat = tat, late = counted and math.max(late, 0) or 0, interval = interval, room = room}
  if bucket.late > retry then retry = bucket.late end
  kept[#kept + 1], kept[#kept + 2] = name, int(tat + interval)
  names[i] = bucket
end
for _, b in ipairs(names) do
  if counted and retry == 0 then b.tat = b.tat + b.interval end
  b.remaining = math.floor((b.room - (b.tat - NOW)) / b.interval)
  if not tightest or b.late > tightest.late or (b.late == tightest.late and b.remaining < tightest.remaining) then tightest = b end
end
if counted and retry == 0 then
  redis.call(unpack(kept))
  redis.call('PEXPIRE', 'relay:tat:' .. id, 61000)
  if waits then
    redis.call('ZADD', calls, int(NOW + CALL), ARGV[4])
    redis.call('PEXPIRE', calls, CALL / 1000)
  end
  if NOW / 1000 - used > 1000 then redis.call('HSET', 'relay:key:' .. ARGV[1], 'used_ms', int(math.floor(NOW / 1000))) end
end
return {busy and 'busy' or retry == 0 and 'ok' or 'rate', id, tier, account, super, int(limit('concurrent')), mode, tightest.name,
  int(tightest.limit), int(tightest.remaining), int(tightest.tat - NOW), int(retry)}
