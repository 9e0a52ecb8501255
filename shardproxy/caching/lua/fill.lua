-- Stores what was loaded, unless the lease is no longer ours: a write has cancelled it. A value that is to be replaced
-- has to be what it was when the lease was claimed, or to have expired: of a write's two steps, the lease and the value,
-- the claim may have come between. KEYS: key, lease.
-- ARGV: mine, milliseconds to live, `cold` or `refresh`, then commands, each behind its length.
-- Replies 1 when it is stored; 0 when it is not.
local held = redis.call('GET', KEYS[2])
if not held or string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
local is_there = redis.call('EXISTS', KEYS[1]) == 1
if ARGV[3] == 'cold' then
  if is_there then return 0 end
else
  local ends, digest = string.match(string.sub(held, #ARGV[1] + 1), '^(%d+):(%x+)$')
  if is_there then
    if redis.sha1hex(redis.call('DUMP', KEYS[1])) ~= digest then return 0 end
  else
    local now = redis.call('TIME')
    if ends == '0' or now[1] * 1000 + math.floor(now[2] / 1000) < tonumber(ends) then return 0 end
  end
end
redis.call('DEL', KEYS[1])
local at = 4
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  redis.call(unpack(ARGV, at + 1, at + count))
  at = at + count + 1
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
