-- Ends a node's session and lets it open no other. arg: node reason
redis.call('HSET', 'relay:banned', arg(1), arg(2))
end_session(arg(1))
hand_back_all(arg(1))
