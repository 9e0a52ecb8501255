-- Takes the lease for a write: from who loads, never from who writes, nor while the database lacks writes.
-- What a writer that lost it had prepared goes: it is not what is written now.
-- KEYS: write, lease, dirty, stream, new. ARGV: mine, milliseconds. Replies: mine | busy | dirty.
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 'busy' end
if redis.call('EXISTS', KEYS[3]) == 1 and redis.call('EXISTS', KEYS[4]) == 1 then return 'dirty' end
redis.call('DEL', KEYS[2], KEYS[5])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 'mine'
