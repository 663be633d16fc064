-- Loaded in front of every outbox script, after the generated table MOVES (see outbox.py). The chain writer's scripts only.
--
-- relay:record:{id}        hash   what the chain has to hold of a task; written by submit and report (prelude.lua). Added here, for
--                                 each leg (opening, settlement): {leg} {leg}_batch {leg}_tx {leg}_block {leg}_gas {leg}_error {leg}_tries
-- relay:outbox:open|settle zset   task whose opening|settlement is pending -> when it is due (ms)
-- relay:chain_head         string the newest block that was looked at
-- relay:chain:epoch        string counts the starts of chain writers: the newest writes, an older one finds out here
-- relay:chain:batch:{id}   string a batch as JSON (chain/batch.py)
-- relay:chain:flight       zset   batches stored and perhaps broadcast, not mined -> nonce
-- relay:chain:mined        zset   batches mined, not deep enough -> block
-- relay:chain:confirmed    zset   the newest of the others -> block, to notice when the chain is rewound
--
-- Redis doesn't undo a script that fails half-way: each one checks all that it is going to do before it writes.
-- Returns a list; its first word is OK, or why nothing was changed.

local EPOCH = tonumber(ARGV[1])
local function arg(i) return ARGV[i + 1] end
local function int(n) return string.format('%.0f', n) end
local clock = redis.call('TIME')
local NOW = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local OUTBOX = {opening = 'relay:outbox:open', settlement = 'relay:outbox:settle'}
local function record(id) return 'relay:record:' .. id end
local function batch_key(id) return 'relay:chain:batch:' .. id end
local function state(id, leg) return redis.call('HGET', record(id), leg) end
local function may(from, target) return from and MOVES[from] and MOVES[from][target] end

local function superseded()
  local newest = tonumber(redis.call('GET', 'relay:chain:epoch') or '0')
  -- a store restored from an older file has forgotten that we took over
  if newest < EPOCH then redis.call('SET', 'relay:chain:epoch', int(EPOCH)) end
  return newest > EPOCH
end

local function move(id, leg, target)
  local current = state(id, leg)
  if not may(current, target) then error('ILLEGAL ' .. leg .. ' ' .. tostring(current) .. ' -> ' .. target) end
  redis.call('HSET', record(id), leg, target)
end

-- Whether the leg is still the batch's own: it may have been released and sent in another one since, or its record has expired.
local function owns(batch, id) return redis.call('HGET', record(id), batch.leg .. '_batch') == batch.id end

-- Back to pending and into the outbox; `due` in ms.
local function pend(id, leg, due, reason)
  move(id, leg, 'pending')
  redis.call('HDEL', record(id), leg .. '_batch', leg .. '_tx', leg .. '_block', leg .. '_gas')
  if reason ~= '' then redis.call('HSET', record(id), leg .. '_error', reason) end
  redis.call('ZADD', OUTBOX[leg], int(due), id)
end

local function fail(id, leg, reason)
  move(id, leg, 'failed')
  redis.call('HSET', record(id), leg .. '_error', reason)
  redis.call('ZREM', OUTBOX[leg], id)
end

-- A leg whose batch came to nothing: another try, or with `most` > 0 the end of it after so many. Returns whether it has ended.
local function back(id, leg, due, reason, most)
  if most > 0 and redis.call('HINCRBY', record(id), leg .. '_tries', 1) >= most then
    if state(id, leg) == 'confirmed' then move(id, leg, 'pending') end
    fail(id, leg, reason)
    return true
  end
  pend(id, leg, due, reason)
  return false
end

local function unlist(batch_id)
  for _, set in ipairs({'flight', 'mined', 'confirmed'}) do redis.call('ZREM', 'relay:chain:' .. set, batch_id) end
end

if superseded() then return {'SUPERSEDED'} end
