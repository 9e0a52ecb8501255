-- The database will never have this note: it goes to the dead letters, with the reason, and the cache forgets
-- the value unless a later note is on its way.
-- KEYS: stream, dead, dirty, key, lease. ARGV: id, group, reason. Replies whether it was there.
-- XACK comes first: when memory is full, what follows it is let through.
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #found == 0 then return 0 end
local words = found[1][2]
if #words > 7500 then return redis.error_reply('ERR a note of ' .. #words .. ' words') end -- of Lua's 8000
redis.call('XACK', KEYS[1], ARGV[2], ARGV[1])
redis.call('XADD', KEYS[2], '*', 'reason', ARGV[3], 'id', ARGV[1], unpack(words))
redis.call('XDEL', KEYS[1], ARGV[1])
if redis.call('DECR', KEYS[3]) <= 0 then
  redis.call('DEL', KEYS[3])
  redis.call('DEL', KEYS[4], KEYS[5])
end
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[1]) end
return 1
