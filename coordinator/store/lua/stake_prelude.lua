-- What providers have staked for their nodes: the chain writer's copy of the chain's NodeRegistry.
--
-- relay:stakes   hash   node -> "{provider} {wei} {unbonds_at}" (unix seconds, 0: stays), of every node ever registered
-- relay:staking  hash   the registry and how far its events are known: chain_id registry min_stake unbonding block block_hash

-- Wei as decimal digits: too many for Lua's numbers.
local function fewer(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

-- Whether the chain has at least `least` wei staked for a node, none of it on its way out. The contract's own minimum counts too.
local function has_stake(node, least)
  local wei, unbonds_at = string.match(redis.call('HGET', 'relay:stakes', node) or '', '^%S+ (%d+) (%d+)$')
  if not wei or unbonds_at ~= '0' or fewer(wei, least) then return false end
  return not fewer(wei, redis.call('HGET', 'relay:staking', 'min_stake') or '0')
end
