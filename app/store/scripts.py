"""The scripts that change a chat. Each is atomic, fenced by the id of the run, and may run twice: the second
time it finds its work done and answers the same.

All take the keys of one chat: the chat, its messages, its runs, then what the script says.
"""

from app.store.eventlog import LAST_NUMBER, WRITE_EVENTS
from app.store.wire.connection import Script

_NOW = """
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
"""

# ARGV: run id, attempt, digest, run, message, agent, title, replaced run, chat seconds, kept messages,
# history
START = Script(
    _NOW
    + """
local chat, messages, runs, early = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local live = redis.call('HMGET', chat, 'run_id', 'attempt', 'run_at', 'run', 'created_at')
local known = redis.call('HGET', runs, ARGV[1])
local repeated = live[1] == ARGV[1] and live[2] == ARGV[2]
if known and not repeated then return {'known', known, live[1] == ARGV[1] and live[4] or '{}'} end
if live[1] and not repeated then return {'busy', live[1], live[3], live[4]} end
if not repeated then
  if ARGV[8] ~= '' then
    local found = nil
    for place, line in ipairs(redis.call('LRANGE', messages, 0, -1)) do
      local entry = cjson.decode(string.sub(line, string.find(line, ' ') + 1))
      if entry.role == 'user' and entry.run_id == ARGV[8] then found = place - 1 end
    end
    if not found then return {'gone'} end
    if found == 0 then redis.call('DEL', messages) else redis.call('LTRIM', messages, 0, found - 1) end
  end
  redis.call('HSET', chat, 'run_id', ARGV[1], 'attempt', ARGV[2], 'run_at', now, 'run', ARGV[4],
    'agent', ARGV[6], 'updated_at', now)
  if not live[5] then redis.call('HSET', chat, 'created_at', now, 'title', ARGV[7]) end
  if ARGV[5] ~= '' then
    redis.call('RPUSH', messages, now .. ' ' .. ARGV[5])
    redis.call('LTRIM', messages, -ARGV[10], -1)
  end
  redis.call('HSET', runs, ARGV[1], ARGV[3])
  redis.call('DEL', KEYS[5]) -- the log of a run of this id in a chat that has just been deleted
  for _, key in ipairs({chat, messages, runs}) do redis.call('EXPIRE', key, ARGV[9]) end
end
local lapses = redis.call('ZSCORE', early, ARGV[1])
local stopped = lapses and tonumber(lapses) > tonumber(now)
local history = redis.call('LRANGE', messages, -ARGV[11], -1)
return {'started', repeated and live[3] or now, stopped and 1 or 0, history}
""",
    lasting=True,
)

# ARGV: run id, writer, outcome, backend, message, kept messages, chat seconds, replay seconds, last number or
# '', then number and event for every event that may not be in the log yet
END = Script(
    _NOW
    + LAST_NUMBER
    + WRITE_EVENTS
    + """
local chat, messages, runs, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local record = redis.call('HGET', runs, ARGV[1])
if redis.call('HGET', chat, 'run_id') ~= ARGV[1] then
  if record and string.sub(record, -#ARGV[2]) == ARGV[2] then return {'ended'} end
  return {'lost', record or ''}
end
if ARGV[9] ~= '' and last_number(events) ~= tonumber(ARGV[9]) then return {'moved'} end
if ARGV[10] and write_events(events, 10) < tonumber(ARGV[#ARGV - 1]) then return {'gap'} end
redis.call('EXPIRE', events, ARGV[8])
if ARGV[5] ~= '' then
  redis.call('RPUSH', messages, now .. ' ' .. ARGV[5])
  redis.call('LTRIM', messages, -ARGV[6], -1)
end
redis.call('HDEL', chat, 'run_id', 'attempt', 'run_at', 'run')
redis.call('HSET', chat, 'last_run', ARGV[1], 'updated_at', now)
redis.call('HSET', runs, ARGV[1], table.concat({record, ARGV[3], ARGV[4], now, ARGV[2]}, ' '))
redis.call('ZREM', KEYS[5], ARGV[1])
for _, key in ipairs({chat, messages, runs}) do redis.call('EXPIRE', key, ARGV[7]) end
return {'ended'}
""",
    lasting=True,
)

# takes back a start whose answer never reached us; ARGV: run id, attempt, 1 when its message was stored
UNDO = Script(
    """
local live = redis.call('HMGET', KEYS[1], 'run_id', 'attempt')
if live[1] ~= ARGV[1] or live[2] ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], 'run_id', 'attempt', 'run_at', 'run')
redis.call('HDEL', KEYS[3], ARGV[1])
if ARGV[3] == '1' then redis.call('RPOP', KEYS[2]) end
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('DEL', KEYS[1]) end
return 1
"""
)

# ARGV: milliseconds the event logs still live; KEYS[5] is the prefix of the logs
DELETE = Script(
    """
if redis.call('HEXISTS', KEYS[1], 'run_id') == 1 then return 'running' end
for _, run in ipairs(redis.call('HKEYS', KEYS[3])) do redis.call('PEXPIRE', KEYS[5] .. run, ARGV[1]) end
local known = redis.call('EXISTS', KEYS[1])
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
return known == 1 and 'deleted' or 'unknown'
"""
)

# ARGV: chat id, `known` when only a chat in the index is moved up; answers how many chats there are
TOUCH = Script(
    _NOW
    + """
if ARGV[2] == '' or redis.call('ZSCORE', KEYS[1], ARGV[1]) then redis.call('ZADD', KEYS[1], now, ARGV[1]) end
return redis.call('ZCARD', KEYS[1])
"""
)

# ARGV: how many chats may be kept, how many of the oldest to pass over; some hundreds of the oldest beyond
# that number
SURPLUS = Script(
    """
local surplus = math.min(redis.call('ZCARD', KEYS[1]) - ARGV[1], 500)
return surplus > 0 and redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[2] + surplus - 1) or {}
"""
)

RENAME = Script(
    "if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end redis.call('HSET', "
    "KEYS[1], 'title', ARGV[1]) return 1"
)
