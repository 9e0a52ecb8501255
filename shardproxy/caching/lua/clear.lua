-- Nobody may read what was there from now on, nor load it, before the lease ends.
-- KEYS: key, write. ARGV: mine, milliseconds. Replies how many values went (0, 1); -1 where the lease is lost.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return redis.call('DEL', KEYS[1])
