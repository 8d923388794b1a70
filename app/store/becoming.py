"""A chat becomes a conversation that a client brings: two scripts beside START and UNDO of
`scripts`.

What the chat has already, from its beginning on, stays as it is, with its runs and facts; from the
first difference on the brought turns take its place. No message is decoded: the turns are compared
as they are written. What stood there is kept for as long as the start may be taken back.
"""

from app.store.pieces import DECODED, NOW, NUMBERS
from app.store.wire.script import Script

UNDO_SECONDS = 240  # > UNDO_FOR_SECONDS of app/clock

# runs behind START in the same exchange; the turns are the tail, the question of the run stays the
# last line
BECOME = Script(
    NOW
    + DECODED
    + NUMBERS
    + """
local live = redis.call('HMGET', chat, 'attempt', 'became')
if live[1] ~= attempt then return 0 end
if live[2] == attempt then return 1 end
local own = stored == '1' and redis.call('RPOP', messages)
local old = redis.call('LRANGE', messages, 0, -1)
local function stands(line, body)
  local _, head = string.find(line, '^%d+ %S+ ')
  local length = #body - 1 -- without the bracket: a reply may have more behind its text
  local behind = string.sub(line, head + length + 1, head + length + 1)
  if behind ~= ',' and behind ~= '}' then return false end
  return string.sub(line, head + 1, head + length) == string.sub(body, 1, length)
end
local kept, brought = 0, #ARGV - tail + 1
while kept < brought and kept < #old and stands(old[kept + 1], ARGV[tail + kept]) do kept = kept + 1 end
if kept < #old or brought > kept then
  if #old > 0 then
    redis.call('RENAME', messages, before)
    redis.call('EXPIRE', before, undo)
  end
  local bytes = own and #own or 0
  for n = 1, brought do
    local line = n <= kept and old[n] or stamp .. ' - ' .. ARGV[tail + n - 1]
    redis.call('RPUSH', messages, line)
    bytes = bytes + #line
  end
  local was = number(chat, 'bytes') - (own and #own or 0)
  redis.call('HSET', chat, 'was', string.format('%.0f', was), 'bytes', bytes, 'became', attempt)
end
local record = decoded(redis.call('HGET', runs, run_id)) or {}
record.place = redis.call('LLEN', messages) + number(chat, 'first')
redis.call('HSET', runs, run_id, cjson.encode(record))
if own then redis.call('RPUSH', messages, own) end
return 1
""",
    keys="chat messages runs before",
    args="run_id attempt stored undo",
    tail=True,
    lasting=True,
)

# runs before UNDO in the same exchange
UNBECOME = Script(
    NUMBERS
    + """
local live = redis.call('HMGET', chat, 'attempt', 'became')
if live[1] ~= attempt or live[2] ~= attempt then return 0 end
local own = stored == '1' and redis.call('RPOP', messages)
redis.call('DEL', messages)
if redis.call('EXISTS', before) == 1 then redis.call('RENAME', before, messages) end
redis.call('HSET', chat, 'bytes', string.format('%.0f', number(chat, 'was')))
if own then
  redis.call('RPUSH', messages, own)
  add(chat, 'bytes', #own)
end
redis.call('HDEL', chat, 'became', 'was')
return 1
""",
    keys="chat messages before",
    args="attempt stored",
)
