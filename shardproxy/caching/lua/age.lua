-- A value may be old, and so may be what is being loaded. KEYS: key, lease.
-- ARGV: milliseconds that old values are served. Replies whether it is old from now on.
redis.call('DEL', KEYS[2])
local left = redis.call('PTTL', KEYS[1]) -- -1: it lives forever
if left ~= -1 and left <= tonumber(ARGV[1]) then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
