-- Gives a lease back. KEYS: lease, and what goes with it. ARGV: mine, with which it begins. Replies whether it was ours.
local held = redis.call('GET', KEYS[1])
if not held or string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', unpack(KEYS))
return 1
