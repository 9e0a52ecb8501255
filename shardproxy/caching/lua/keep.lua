-- A value that cannot be loaded anew is kept for longer. KEYS: key. ARGV: milliseconds. Replies whether it was.
local left = redis.call('PTTL', KEYS[1])
if left < 0 or left >= tonumber(ARGV[1]) then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
