-- Money, in whole nano-dollars, every sum that is compared below 2^53. Loaded after prelude.lua.
--
-- relay:account:{account}      hash    left_nano held_nano spent_nano paid_nano: paid = left + held + spent, always
-- relay:ledger:{account}       stream  append-only: kind (credit | charge) nano; a charge also task key mode model in out
-- relay:hold:{id}              hash    what a running request is counted and charged to: account key mode model,
--                                      in_nano out_nano (a token), most_in most_out (tokens), amount_nano (set aside)
-- relay:holds                  zset    holds of calls that no unfinished task stands for -> when they are let go (ms)
-- relay:usage:{account}:{day}  hash    key '\n' mode '\n' model '\n' (requests|in|out|nano); days from 1970-01-01, UTC
-- A key's budget_nano, spent_nano and held_nano are in relay:key:{sha256}: see admit.lua.

local USAGE_DAYS = 400
local function nano(n) return string.format('%.0f', n) end

-- A bill from nine arguments, from arg(i) on: account key mode model in_nano out_nano most_in most_out amount_nano; nil when nobody has one.
local function bill_at(i)
  if not ARGV[i] or ARGV[i] == '' then return nil end
  local b = {}
  for n = 0, 8 do b[n + 1] = ARGV[i + n] end
  return b
end

local function purse_of_key(id)
  local digest = redis.call('GET', 'relay:keyid:' .. id)
  local key = digest and 'relay:key:' .. digest
  return key and redis.call('EXISTS', key) == 1 and key or nil
end

-- Sets a bill's amount aside, once. Returns nothing, or budget | credits and what is left of it when that is less.
local function reserve(id, bill)
  local hold, amount = 'relay:hold:' .. id, tonumber(bill[9])
  if redis.call('EXISTS', hold) == 1 then return nil end
  if amount > 0 then
    local key, account = purse_of_key(bill[2]), 'relay:account:' .. bill[1]
    local k = key and redis.call('HMGET', key, 'budget_nano', 'spent_nano', 'held_nano') or {}
    if k[1] then
      local left = tonumber(k[1]) - tonumber(k[2] or '0') - tonumber(k[3] or '0')
      if left < amount then return 'budget', left end
    end
    local left = tonumber(redis.call('HGET', account, 'left_nano') or '0')
    if left < amount then return 'credits', left end
    redis.call('HINCRBY', account, 'left_nano', nano(-amount))
    redis.call('HINCRBY', account, 'held_nano', nano(amount))
    if key then redis.call('HINCRBY', key, 'held_nano', nano(amount)) end
  end
  redis.call('HSET', hold, 'account', bill[1], 'key', bill[2], 'mode', bill[3], 'model', bill[4], 'in_nano', bill[5],
    'out_nano', bill[6], 'most_in', bill[7], 'most_out', bill[8], 'amount_nano', bill[9])
end

local function count(account, name, now, tokens_in, tokens_out, charge)
  local usage = 'relay:usage:' .. account .. ':' .. nano(math.floor(now / 86400000))
  redis.call('HINCRBY', usage, name .. '\nrequests', 1)
  redis.call('HINCRBY', usage, name .. '\nin', nano(tokens_in))
  redis.call('HINCRBY', usage, name .. '\nout', nano(tokens_out))
  redis.call('HINCRBY', usage, name .. '\nnano', nano(charge))
  redis.call('EXPIRE', usage, USAGE_DAYS * 86400)
end

-- Ends a hold, once: what was used is charged and counted, the rest is let go. Not completed costs nothing.
local function settle(id, completed, tokens_in, tokens_out, now)
  local hold = 'relay:hold:' .. id
  local h = redis.call('HMGET', hold, 'account', 'key', 'mode', 'model', 'in_nano', 'out_nano', 'most_in', 'most_out', 'amount_nano')
  if not h[1] then return end
  redis.call('DEL', hold)
  redis.call('ZREM', 'relay:holds', id)
  local amount, charge = tonumber(h[9]), 0
  if completed then
    tokens_in = math.min(tonumber(tokens_in or '0'), tonumber(h[7]))
    tokens_out = math.min(tonumber(tokens_out or '0'), tonumber(h[8]))
    charge = tokens_in * tonumber(h[5]) + tokens_out * tonumber(h[6])
    count(h[1], h[2] .. '\n' .. h[3] .. '\n' .. h[4], now, tokens_in, tokens_out, charge)
  end
  if amount == 0 then return end
  local key, account = purse_of_key(h[2]), 'relay:account:' .. h[1]
  redis.call('HINCRBY', account, 'held_nano', nano(-amount))
  redis.call('HINCRBY', account, 'left_nano', nano(amount - charge))
  redis.call('HINCRBY', account, 'spent_nano', nano(charge))
  if key then
    redis.call('HINCRBY', key, 'held_nano', nano(-amount))
    redis.call('HINCRBY', key, 'spent_nano', nano(charge))
  end
  if charge > 0 then
    redis.call('XADD', 'relay:ledger:' .. h[1], '*', 'kind', 'charge', 'nano', nano(charge), 'task', id, 'key', h[2],
      'mode', h[3], 'model', h[4], 'in', nano(tokens_in), 'out', nano(tokens_out))
  end
end
