-- Does a command to the key, and notes for the database what the key is then, all or nothing.
-- KEYS: key, lease, dirty, stream. ARGV: how many notes there may be, milliseconds to live where it has no end,
--   `none` (what was there is of no matter) | `copy` | `given` (there is no row),
--   whether it changes nothing where there is something (0, 1), the command.
-- Replies: full COUNT | dirty | cold | error TEXT | ok, is the reply a status, reply, was it noted.
local count = redis.call('XLEN', KEYS[4])
if count >= tonumber(ARGV[1]) then return {'full', count} end
local had = redis.call('EXISTS', KEYS[1])
if ARGV[3] == 'copy' and had == 0 and redis.call('GET', KEYS[2]) ~= 'm' then
  if redis.call('EXISTS', KEYS[3]) == 1 then return {'dirty'} end
  return {'cold'}
end
if ARGV[3] ~= 'none' and redis.call('TYPE', KEYS[1]).ok == 'hash' then
  local words = 2 * redis.call('HLEN', KEYS[1]) + #ARGV - 6
  if words > 7000 then return {'error', 'ERR LOADER a hash of so many fields cannot be noted: not written'} end
end
local dump = false
if ARGV[3] ~= 'none' then dump = redis.call('DUMP', KEYS[1]) end
local reply = redis.pcall(ARGV[5], KEYS[1], unpack(ARGV, 7))
if type(reply) == 'table' and reply.err then return {'error', reply.err} end
local is_noted, now = 0, redis.call('EXISTS', KEYS[1])
local is_refused = ARGV[4] == '1' and redis.call('DUMP', KEYS[1]) == dump
if ARGV[3] == 'none' or not (is_refused or (had == 0 and now == 0)) then
  local kind = redis.call('TYPE', KEYS[1]).ok
  if kind == 'hash' then
    redis.call('XADD', KEYS[4], '*', 'key', KEYS[1], 'type', kind, unpack(redis.call('HGETALL', KEYS[1])))
  elseif kind == 'string' then
    redis.call('XADD', KEYS[4], '*', 'key', KEYS[1], 'type', kind, 'value', redis.call('GET', KEYS[1]))
  else
    redis.call('XADD', KEYS[4], '*', 'key', KEYS[1], 'type', kind)
  end
  redis.call('INCR', KEYS[3])
  redis.call('DEL', KEYS[2])
  if tonumber(ARGV[2]) > 0 and redis.call('PTTL', KEYS[1]) == -1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
  is_noted = 1
end
if type(reply) == 'table' and reply.ok then return {'ok', 1, reply.ok, is_noted} end
return {'ok', 0, reply, is_noted}
