-- Remembers that there is no row, unless the lease is no longer ours. A value that was refreshed is no more; one
-- that somebody has put there while it was loaded stays. KEYS: key, lease.
-- ARGV: mine, milliseconds to remember it, 0 = not at all, `cold` or `refresh`. Replies whether it was ours.
local held = redis.call('GET', KEYS[2])
if not held or string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
if redis.call('EXISTS', KEYS[1]) == 1 then
  if ARGV[3] == 'cold' then return 1 end
  local digest = string.match(held, ':(%x+)$')
  if redis.sha1hex(redis.call('DUMP', KEYS[1])) ~= digest then return 1 end
end
redis.call('DEL', KEYS[1])
if tonumber(ARGV[2]) > 0 then redis.call('SET', KEYS[2], 'm', 'PX', ARGV[2]) end
return 1
