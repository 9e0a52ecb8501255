-- Whether nothing is what a read finds in a key that is there. KEYS: key. ARGV: the command.
-- Replies: gone | nothing (an error, too) | something.
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
local reply = redis.pcall(ARGV[1], KEYS[1], unpack(ARGV, 3))
if type(reply) ~= 'table' then
  if not reply or reply == 0 or reply == '' then return 'nothing' end
  return 'something'
end
for at = 1, #reply do
  if reply[at] and reply[at] ~= 0 then return 'something' end
end
return 'nothing'
