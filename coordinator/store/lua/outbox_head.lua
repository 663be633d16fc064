-- The newest block, for whoever counts confirmations.
-- arg: number
redis.call('SET', 'relay:chain_head', arg(1))
return {'OK'}
