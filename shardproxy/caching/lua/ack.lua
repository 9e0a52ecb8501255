-- The database has these notes, and the lease ends. KEYS: stream, drain, then the dirty mark of each note.
-- ARGV: mine, group, then the notes' ids. Replies how many notes are left.
-- XACK comes first: when memory is full, what follows it is let through.
for at = 3, #ARGV do
  redis.call('XACK', KEYS[1], ARGV[2], ARGV[at])
  if redis.call('XDEL', KEYS[1], ARGV[at]) == 1 and redis.call('DECR', KEYS[at]) <= 0 then
    redis.call('DEL', KEYS[at])
  end
end
local left = redis.call('XLEN', KEYS[1])
if left == 0 then redis.call('DEL', KEYS[1]) end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return left
