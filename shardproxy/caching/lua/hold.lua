-- Whether a lease is ours, and is now for so long. KEYS: lease. ARGV: mine, milliseconds.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
