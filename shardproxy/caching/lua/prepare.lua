-- Does a command to a copy of the key that nobody sees yet, to know what it makes of it.
-- KEYS: key, write, new. ARGV: mine, milliseconds that the copy is kept, then
--   `none` (what was there is of no matter) | `copy` | `given` (this was loaded),
--   how many commands make what was loaded, these, each behind its length; the command.
-- Replies: lost | cold (a copy of nothing) | error TEXT |
--   ok, was it there, is it the same, its milliseconds to live, type, value, is the reply a status, reply.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return {'lost'} end
redis.call('DEL', KEYS[3])
local had, dump = redis.call('EXISTS', KEYS[1]), false
if ARGV[3] ~= 'none' and had == 1 then
  dump = redis.call('DUMP', KEYS[1])
  redis.call('RESTORE', KEYS[3], math.max(0, redis.call('PTTL', KEYS[1])), dump)
elseif ARGV[3] == 'copy' then
  return {'cold'}
end
local at = 5
for _ = 1, tonumber(ARGV[4]) do
  local count = tonumber(ARGV[at])
  if not dump then redis.call(unpack(ARGV, at + 1, at + count)) end
  at = at + count + 1
end
if ARGV[3] == 'given' and not dump then dump = redis.call('DUMP', KEYS[3]) end
local reply = redis.pcall(ARGV[at], KEYS[3], unpack(ARGV, at + 2))
if type(reply) == 'table' and reply.err then
  redis.call('DEL', KEYS[3])
  return {'error', reply.err}
end
local kind = redis.call('TYPE', KEYS[3]).ok
local value = false
if kind == 'string' then value = redis.call('GET', KEYS[3]) end
if kind == 'hash' then value = redis.call('HGETALL', KEYS[3]) end
local is_same = 0
if ARGV[3] ~= 'none' and redis.call('DUMP', KEYS[3]) == dump then is_same = 1 end
local lives = redis.call('PTTL', KEYS[3])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
if type(reply) == 'table' and reply.ok then return {'ok', had, is_same, lives, kind, value, 1, reply.ok} end
return {'ok', had, is_same, lives, kind, value, 0, reply}
