"""The scripts that change a chat. Each is atomic, fenced by the id of the run, and may run twice: the second
time it finds its work done and answers the same. None decodes a message; each is bounded by a constant.

`first` in the chat's hash counts the messages dropped at its beginning, so `place` in a run's record, the
place of its question counted from the first message ever, is found again; `bytes` is what its messages and
versions weigh.
"""

from app.store.eventlog import LAST_NUMBER, WRITE_EVENTS
from app.store.waiting import LEAVE_LINE, LINE_UP, LINE_UP_AGAIN, WAITING
from app.store.wire.script import Script

NOW = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(time[2] / 1000)
local stamp = string.format('%.0f', now)
"""

# a life of 0 seconds is one without end
LIVES = """
local function lives(keys, life)
  for _, key in ipairs(keys) do
    if tonumber(life) > 0 then redis.call('EXPIRE', key, life) else redis.call('PERSIST', key) end
  end
end
"""

# a record or a run that cannot be read counts as none
DECODED = """
local function decoded(text)
  local well, value = pcall(cjson.decode, text or '')
  return well and type(value) == 'table' and value or nil
end
"""

# what counts in a hash; what is no number there, or none that can be, counts as 0
NUMBERS = """
local function sane(value)
  local found = tonumber(value)
  return found and found > -1e15 and found < 1e15 and math.floor(found) or nil
end
local function number(key, field)
  return sane(redis.call('HGET', key, field)) or 0
end
local function add(key, field, more)
  local sum = string.format('%.0f', number(key, field) + more)
  redis.call('HSET', key, field, sum)
  return sum
end
"""

# the run that a chat's hash describes; a chat whose run cannot be read is held by nobody
HOLDER = """
local function holder(text)
  local told = decoded(text)
  for _, field in ipairs({'run_id', 'process', 'attempt'}) do
    if not told or type(told[field]) ~= 'string' then return nil end
  end
  return told
end
"""

# the index in the list of the question of a run, if it still stands there
_PLACE = """
local function place_of(id)
  local record = decoded(redis.call('HGET', runs, id))
  if not record or not sane(record.place) then return nil end
  local place = sane(record.place) - number(chat, 'first')
  local line = place >= 0 and redis.call('LINDEX', messages, place)
  return line and string.match(line, '^%d+ (%S+)') == id and place or nil
end
"""

# takes the messages from a place on off the chat and keeps them as a version of the question `stands`
_CUT = """
local function cut(place, stands)
  local lines = redis.call('LRANGE', messages, place, -1)
  local gone = string.match(lines[1], '^%d+ (%S+)')
  for _, field in ipairs(redis.call('HKEYS', versions)) do
    local at, anchor = string.match(redis.call('HGET', versions, field), '^(%d+) (%S+)$')
    if anchor == gone then redis.call('HSET', versions, field, at .. ' ' .. stands) end
  end
  local version = add(chat, 'version', 1)
  add(chat, 'bytes', #lines - 1) -- the line feeds between them
  redis.call('HSET', versions, version, stamp .. ' ' .. stands)
  redis.call('HSET', versions, version .. ':lines', table.concat(lines, '\\n'))
  if place == 0 then redis.call('DEL', messages) else redis.call('LTRIM', messages, 0, place - 1) end
  return version, gone
end
"""

# puts the lines of a version back to the end of the chat; its siblings are versions of its question again
_PUT_BACK = """
local function put_back(version, stood)
  local lines = redis.call('HGET', versions, version .. ':lines') or ''
  local question = string.match(lines, '^%d+ (%S+)') or ''
  local back = 0
  for line in string.gmatch(lines, '[^\\n]+') do back = redis.call('RPUSH', messages, line) and back + 1 end
  add(chat, 'bytes', 1 - back)
  redis.call('HDEL', versions, version, version .. ':lines')
  for _, field in ipairs(redis.call('HKEYS', versions)) do
    local at, anchor = string.match(redis.call('HGET', versions, field), '^(%d+) (%S+)$')
    if anchor == stood then redis.call('HSET', versions, field, at .. ' ' .. question) end
  end
end
"""

_LIVE = "'run_id', 'attempt', 'run', 'before', 'cut', 'seen', 'waited'"

# of START: a run that cannot be read is none
_UNHELD = f"""
local function forget_unheld(live)
  if not live[1] or holder(live[3]) then return end
  redis.call('HDEL', chat, {_LIVE})
  live[1], live[2], live[3] = false, false, false
end
"""

START = Script(
    NOW
    + LIVES
    + DECODED
    + NUMBERS
    + HOLDER
    + _PLACE
    + _CUT
    + WAITING
    + _UNHELD
    + """
local live = redis.call('HMGET', chat, 'run_id', 'attempt', 'run', 'agent', 'updated_at')
local known = redis.call('HGET', runs, run_id)
forget_unheld(live)
local repeated = live[1] == run_id and live[2] == attempt
if known and not repeated then return {'known', known, live[1] == run_id and live[3] or ''} end
"""
    + LINE_UP
    + """
if live[1] and not repeated then return {'busy', live[3]} end
if not repeated then
  local version = ''
  if replaces ~= '' then
    local place = place_of(replaces)
    if not place then return {'gone'} end
    version = cut(place, run_id)
  end
  local described = decoded(run)
  described.started_ms = now
  redis.call('HSET', chat, 'run_id', run_id, 'attempt', attempt, 'run', cjson.encode(described),
    'cut', version, 'before', (live[4] or '') .. ' ' .. (live[5] or ''), 'agent', agent, 'updated_at', stamp)
  if not live[5] then redis.call('HSET', chat, 'created_at', stamp, 'title', title) end
  local place = redis.call('LLEN', messages) + number(chat, 'first')
  if message ~= '' then
    local line = stamp .. ' ' .. run_id .. ' ' .. message
    redis.call('RPUSH', messages, line)
    add(chat, 'bytes', #line)
  end
  redis.call('HSET', runs, run_id, cjson.encode({digest = digest, place = place}))
  redis.call('RPUSH', ids, run_id)
"""
    + LEAVE_LINE
    + """
  redis.call('DEL', events) -- the log of a run of this id in a chat that has just been deleted
  lives({chat, messages, runs, ids, versions, queue}, 0) -- END lets it end again: a clock may jump
end
local lapses = redis.call('ZSCORE', early, run_id)
local stopped = lapses and tonumber(lapses) > now
local started = decoded(redis.call('HGET', chat, 'run'))
return {'started', string.format('%.0f', started.started_ms), stopped and 1 or 0,
  redis.call('LRANGE', messages, -history, -1)}
""",
    keys="chat messages runs ids versions queue unsent early events",
    args="run_id attempt digest run message agent title replaces history line waiting",
    lasting=True,
)

END = Script(
    NOW
    + LIVES
    + DECODED
    + NUMBERS
    + LAST_NUMBER
    + WRITE_EVENTS
    + f"""
local record = redis.call('HGET', runs, run_id)
if redis.call('HGET', chat, 'run_id') ~= run_id then
  local told = decoded(record)
  if told and told.writer == writer then return {{'ended'}} end
  return {{'lost', record or ''}}
end
if expected ~= '' and last_number(events) ~= tonumber(expected) then return {{'moved'}} end
if ARGV[tail] and write_events(events, tail) < tonumber(ARGV[#ARGV - 1]) then return {{'gap'}} end
redis.call('EXPIRE', events, replay)
if reply ~= '' then
  local line = stamp .. ' ' .. run_id .. ' ' .. reply
  redis.call('RPUSH', messages, line)
  add(chat, 'bytes', #line)
end
while redis.call('LLEN', ids) > 256 do redis.call('HDEL', runs, redis.call('LPOP', ids)) end
local weight = number(chat, 'bytes')
local old = redis.call('HKEYS', versions)
table.sort(old, function(a, b) return (sane(a) or 1e9) < (sane(b) or 1e9) end)
local count = #old / 2
for _, version in ipairs(old) do
  if not sane(version) or (count <= 10 and weight <= tonumber(most_bytes)) then break end
  weight = weight - #(redis.call('HGET', versions, version .. ':lines') or '')
  redis.call('HDEL', versions, version, version .. ':lines')
  count = count - 1
end
local length, dropped = redis.call('LLEN', messages), 0
while length > tonumber(keep) or (weight > tonumber(most_bytes) and length > 2) do
  weight = weight - #redis.call('LPOP', messages)
  length, dropped = length - 1, dropped + 1
end
add(chat, 'first', dropped)
redis.call('HDEL', chat, {_LIVE})
redis.call('HSET', chat, 'last_run', run_id, 'updated_at', stamp, 'bytes', string.format('%.0f', weight))
local ended = decoded(record) or {{}}
ended.outcome, ended.backend, ended.ended_ms, ended.writer = outcome, backend, now, writer
redis.call('HSET', runs, run_id, cjson.encode(ended))
redis.call('ZREM', early, run_id)
lives({{chat, messages, runs, ids, versions, queue}}, life)
if bell ~= '' then redis.call('PUBLISH', channel, bell) end
return {{'ended'}}
""",
    keys="chat messages runs ids versions queue events early",
    args="run_id writer outcome backend reply keep most_bytes life replay expected channel bell",
    tail=True,
    lasting=True,
)

# takes back a start whose answer never reached us, all of it; answers whether the chat is still there, and
# its time
UNDO = Script(
    LIVES
    + NUMBERS
    + _PUT_BACK
    + f"""
local live = redis.call('HMGET', chat, 'run_id', 'attempt', 'before', 'cut')
if live[1] ~= run_id or live[2] ~= attempt then return {{0}} end
{LINE_UP_AGAIN}
redis.call('HDEL', chat, {_LIVE})
redis.call('HDEL', runs, run_id)
redis.call('LREM', ids, -1, run_id)
if stored == '1' then
  add(chat, 'bytes', -#(redis.call('RPOP', messages) or ''))
end
if live[4] and live[4] ~= '' then put_back(live[4], run_id) end
lives({{chat, messages, runs, ids, versions, queue}}, life)
local agent, updated_at = string.match(live[3] or '', '^(%S*) (%d+)$')
if not updated_at then
  redis.call('DEL', chat, messages, runs, ids, versions)
  return {{1, ''}}
end
redis.call('HSET', chat, 'agent', agent, 'updated_at', updated_at)
return {{1, updated_at}}
""",
    keys="chat messages runs ids versions queue",
    args="run_id attempt stored life",
)

# `log_ms`: how long the event logs still live; `spare`: not where messages wait. Those of a running chat are
# forgotten at once, so that none begins when the run has been stopped
DELETE = Script(
    DECODED
    + HOLDER
    + """
if spare == '1' and redis.call('EXISTS', queue) == 1 then return 'running' end
redis.call('UNLINK', queue)
local live = redis.call('HMGET', chat, 'run_id', 'run')
if live[1] and holder(live[2]) then return 'running' end
for _, run in ipairs(redis.call('LRANGE', ids, 0, -1)) do redis.call('PEXPIRE', logs .. run, log_ms) end
local known = redis.call('EXISTS', chat)
redis.call('UNLINK', chat, messages, runs, ids, versions, unsent, early)
return known == 1 and 'deleted' or 'unknown'
""",
    keys="chat messages runs ids versions queue unsent early logs",
    args="log_ms spare",
)

# with `known` only a chat in the index is moved up; answers how many chats there are
TOUCH = Script(
    NOW
    + """
if known == '' or redis.call('ZSCORE', index, chat_id) then redis.call('ZADD', index, stamp, chat_id) end
return redis.call('ZCARD', index)
""",
    keys="index",
    args="chat_id known",
)

# some hundreds of the oldest chats beyond the number that may be kept, passing over some of them
SURPLUS = Script(
    """
local surplus = math.min(redis.call('ZCARD', index) - most, 500)
return surplus > 0 and redis.call('ZRANGE', index, skip, skip + surplus - 1) or {}
""",
    keys="index",
    args="most skip",
)

RENAME = Script(
    """
if redis.call('EXISTS', chat) == 0 then return 0 end
redis.call('HSET', chat, 'title', title, 'named', '1')
return 1
""",
    keys="chat",
    args="title",
)
