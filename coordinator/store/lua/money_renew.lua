-- A long stream goes on. arg: id hold_ms
redis.call('ZADD', 'relay:holds', 'XX', int(NOW + tonumber(arg(2))), arg(1))
return 'OK'
