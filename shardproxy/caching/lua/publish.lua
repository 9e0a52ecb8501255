-- The database has it: so has the cache. KEYS: key, write, new, lease. ARGV: mine, milliseconds to live (0 = for ever).
-- Replies 1; or 0 where the lease was lost, and then the key has no value: whatever was loaded may be older.
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[2])
  if redis.call('EXISTS', KEYS[3]) == 0 then
    redis.call('DEL', KEYS[1])
    return 1
  end
  redis.call('RENAME', KEYS[3], KEYS[1])
  if tonumber(ARGV[2]) > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) else redis.call('PERSIST', KEYS[1]) end
  return 1
end
redis.call('DEL', KEYS[1], KEYS[4])
return 0
