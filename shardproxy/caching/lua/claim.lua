-- Who may load a key. KEYS: key, lease, dirty, stream, write. ARGV: mine, milliseconds, `cold` or `refresh`.
-- Replies: mine | there (cold, and it has a value) | gone (refresh, and it has none) | missing | dirty | busy.
-- The lease of a refresh says behind the token when the value ends, and what it is: no fill may replace another one.
local is_there = redis.call('EXISTS', KEYS[1]) == 1
if ARGV[3] == 'cold' and is_there then return {'there'} end
if ARGV[3] == 'refresh' and not is_there then return {'gone'} end
if redis.call('EXISTS', KEYS[5]) == 1 then return {'busy', redis.call('PTTL', KEYS[5])} end
local held = redis.call('GET', KEYS[2])
if held == 'm' then return {'missing'} end
if held and string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return {'busy', redis.call('PTTL', KEYS[2])} end
if redis.call('EXISTS', KEYS[3]) == 1 then
  if redis.call('EXISTS', KEYS[4]) == 1 then return {'dirty'} end
  redis.call('DEL', KEYS[3]) -- somebody has deleted the notes
end
local lease = ARGV[1]
if is_there then
  local now, left = redis.call('TIME'), redis.call('PTTL', KEYS[1])
  local ends = left >= 0 and now[1] * 1000 + math.floor(now[2] / 1000) + left or 0
  lease = lease .. string.format('%d:', ends) .. redis.sha1hex(redis.call('DUMP', KEYS[1]))
end
redis.call('SET', KEYS[2], lease, 'PX', ARGV[2])
return {'mine'}
