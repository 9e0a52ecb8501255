-- Takes the oldest notes of a stream, those that were taken and not done with first.
-- KEYS: stream, drain. ARGV: mine, milliseconds, how many, group, consumer, the id behind which to look.
-- Replies: busy | empty | ok NOTES. DEL comes first: when memory is full, what follows it is let through.
local held = redis.call('GET', KEYS[2])
if held and held ~= ARGV[1] then return {'busy'} end
redis.call('DEL', KEYS[2])
if redis.call('EXISTS', KEYS[1]) == 0 then return {'empty'} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[4], '0')
local most, notes, after = tonumber(ARGV[3]), {}, ARGV[6]
local function read(from)
  local left = most - #notes
  if left == 0 then return false end
  local found = redis.call('XREADGROUP', 'GROUP', ARGV[4], ARGV[5], 'COUNT', left, 'STREAMS', KEYS[1], from)
  if not found or #found[1][2] == 0 then return false end
  for _, note in ipairs(found[1][2]) do
    after = note[1]
    if note[2] then
      notes[#notes + 1] = note
    else
      redis.call('XACK', KEYS[1], ARGV[4], note[1]) -- somebody has deleted it
    end
  end
  return true
end
while read(after) do end
while read('>') do end
if #notes > 0 then return {'ok', notes} end
redis.call('DEL', KEYS[2])
return {'empty'}
