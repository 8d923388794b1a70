"""The scripts that change a chat. Each is atomic, fenced by the id of the run, and may run twice:
the second time it finds its work done and answers the same. None decodes a message; each is bounded
by a constant.

`first` in the chat's hash counts the messages dropped at its beginning, so `place` in a run's
record, the place of its question counted from the first message ever, is found again; `bytes` is
what its messages and versions weigh.
"""

from app.store.becoming import BECOME, TAKE_OFF
from app.store.eventlog import LAST_NUMBER, WRITE_EVENTS
from app.store.pieces import (
    DECODED,
    HOLDER,
    LIVES,
    LOOSE_SECONDS,
    MOST_RUNS,
    NOW,
    NUMBERS,
    PLACE,
    RUN_AT,
)
from app.store.versions import CUT, MOST_VERSIONS, PUT_BACK, VERSIONS
from app.store.waiting import EARLY_SECONDS, LEAVE_LINE, LEAVE_LINE_AGAIN, LINE_UP, LINE_UP_AGAIN, WAITING
from app.store.wire.script import Script

_LIVE = "'run_id', 'attempt', 'run', 'before', 'cut', 'came', 'continues', 'asked', 'seen', 'waited'"

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
    + RUN_AT
    + PLACE
    + VERSIONS
    + CUT
    + BECOME
    + WAITING
    + _UNHELD
    + """
local live = redis.call('HMGET', chat, 'run_id', 'attempt', 'run', 'agent', 'updated_at', 'chosen',
  'last_run')
local known = redis.call('HGET', runs, run_id)
forget_unheld(live)
local repeated = live[1] == run_id and live[2] == attempt
if known and not repeated then return {'known', known, live[1] == run_id and live[3] or ''} end
if replaces ~= '' and not repeated and not place_of(replaces) then return {'gone'} end
if line == 'first' and live[1] and not repeated and continues ~= '' and continues ~= live[1] then
  return {'closed'}
end
if chosen == '' and not repeated and live[6] and live[6] ~= agent then return {'agent', live[6]} end
for id in string.gmatch(not repeated and named or '', '%S+') do
  if redis.call('HEXISTS', files, id) == 0 then return {'nofile'} end
end
"""
    + LINE_UP
    + """
if live[1] and not repeated then return {'busy', live[3]} end
if becomes ~= '' and not repeated and looked ~= looked_like() then return {'moved'} end
if not repeated then
  local version, came, of, at = '', 0, nil, nil
  local own = message ~= '' and stamp .. ' ' .. run_id .. ' ' .. message
  if continues ~= '' then
    local last = decoded(redis.call('HGET', runs, live[7] or ''))
    of, at = run_at(-1), place_of(continues)
    local root = last and (last.of or live[7])
    if not last or not last.open or root ~= of or at ~= redis.call('LLEN', messages) - 2 then
      return {'closed'}
    end
    redis.call('HSET', chat, 'continues', of)
  end
  if replaces ~= '' then version = cut(place_of(replaces), run_id) end
  if becomes ~= '' then version, came = become(tonumber(becomes), own) end
  local described = decoded(run)
  described.started_ms = now
  redis.call('HSET', chat, 'run_id', run_id, 'attempt', attempt, 'run', cjson.encode(described),
    'cut', version, 'came', came, 'before', (live[4] or '') .. ' ' .. (live[5] or ''))
  redis.call('HSET', chat, 'agent', agent, 'updated_at', stamp)
  if not live[5] then
    redis.call('HSET', chat, 'created_at', stamp, 'title', title)
    if instructions ~= '' then redis.call('HSET', chat, 'instructions', instructions) end
    if temperature ~= '' then redis.call('HSET', chat, 'temperature', temperature) end
  end
  local place = (at or redis.call('LLEN', messages)) + number(chat, 'first')
  if own then
    redis.call('RPUSH', messages, own)
    add(chat, 'bytes', #own)
  end
  redis.call('HSET', runs, run_id, cjson.encode({digest = digest, place = place, of = of}))
  redis.call('RPUSH', ids, run_id)
"""
    + LEAVE_LINE
    + """
  redis.call('DEL', events) -- the log of a run of this id in a chat that has just been deleted
  lives({chat, messages, runs, ids, versions, queue, files}, 0) -- END lets it end again: a clock may jump
  lives(all_lists(), 0)
end
local lapses = redis.call('ZSCORE', early, run_id)
local stopped = lapses and tonumber(lapses) > now
local started = decoded(redis.call('HGET', chat, 'run'))
local wishes = redis.call('HMGET', chat, 'instructions', 'temperature')
return {'started', string.format('%.0f', started.started_ms), stopped and 1 or 0,
  redis.call('LRANGE', messages, -history, -1), wishes[1] or '', wishes[2] or '',
  redis.call('HGET', runs, live[7] or '') or ''}
""",
    keys="chat messages runs ids versions queue files unsent early events",
    args="run_id attempt digest run message agent chosen title replaces continues becomes looked history"
    " line waiting named instructions temperature",
    tail=True,
    lasting=True,
)

END = Script(
    NOW
    + LIVES
    + DECODED
    + NUMBERS
    + VERSIONS
    + LAST_NUMBER
    + WRITE_EVENTS
    + f"""
local record = redis.call('HGET', runs, run_id)
if redis.call('HGET', chat, 'run_id') ~= run_id then
  local told = decoded(record)
  if told and told.writer == writer then return {{'ended'}} end
  return {{'lost', record or ''}}
end
local wanted = outcome ~= 'done' and redis.call('HGET', chat, 'seen')
if wanted and wanted ~= seen then return {{'seen', wanted}} end
if expected ~= '' and last_number(events) ~= tonumber(expected) then return {{'moved'}} end
if ARGV[tail] and write_events(events, tail, #ARGV) < tonumber(ARGV[#ARGV - 1]) then return {{'gap'}} end
redis.call('EXPIRE', events, replay)
local ended = decoded(record) or {{}}
local asked, answered_by, by = string.match(redis.call('HGET', chat, 'asked') or '', '^(%d+) (%S+) ?(%S*)$')
if asked and outcome == 'stopped' then
  ended.stop_ms, ended.answered_by = math.max(0, math.floor((micros - asked) / 100)) / 10, answered_by
  ended.stopped_by = by
  local stop = cjson.encode({{stop_ms = ended.stop_ms, answered_by = answered_by}})
  if reply ~= '' then reply = string.sub(reply, 1, -2) .. ', "stop": ' .. stop .. '}}' end
end
local of = redis.call('HGET', chat, 'continues')
if reply ~= '' and of then
  local old = redis.call('LINDEX', messages, -1)
  local line = (string.match(old or '', '^%d+') or stamp) .. ' ' .. of .. ' ' .. reply
  redis.call('LSET', messages, -1, line)
  add(chat, 'bytes', #line - #old)
  local root = decoded(redis.call('HGET', runs, of))
  if root then
    root.open = open == '1' or nil
    redis.call('HSET', runs, of, cjson.encode(root))
  end
elseif reply ~= '' then
  local line = stamp .. ' ' .. run_id .. ' ' .. reply
  redis.call('RPUSH', messages, line)
  add(chat, 'bytes', #line)
end
while redis.call('LLEN', ids) > {MOST_RUNS} do redis.call('HDEL', runs, redis.call('LPOP', ids)) end
local weight = number(chat, 'bytes')
local old = all_versions()
for n, version in ipairs(old) do
  if #old - n < {MOST_VERSIONS} and weight <= tonumber(most_bytes) then break end
  weight = weight - weight_of(version)
  forget_version(version)
end
local length, dropped = redis.call('LLEN', messages), 0
while length > tonumber(keep) or (weight > tonumber(most_bytes) and length > 2) do
  weight = weight - #redis.call('LPOP', messages)
  length, dropped = length - 1, dropped + 1
end
add(chat, 'first', dropped)
redis.call('HDEL', chat, {_LIVE})
redis.call('HSET', chat, 'last_run', run_id, 'updated_at', stamp, 'bytes', string.format('%.0f', weight))
ended.outcome, ended.backend, ended.ended_ms, ended.writer = outcome, backend, now, writer
ended.open = open == '1' or nil
redis.call('HSET', runs, run_id, cjson.encode(ended))
redis.call('ZREM', early, run_id)
lives({{chat, messages, runs, ids, versions, queue, files}}, life)
lives(all_lists(), life)
if bell ~= '' then redis.call('PUBLISH', channel, bell) end
return {{'ended'}}
""",
    keys="chat messages runs ids versions queue files events early",
    args="run_id writer outcome open backend reply keep most_bytes life replay expected seen channel bell",
    tail=True,
    lasting=True,
)

# takes back a start whose answer never reached us, all of it; answers whether the chat is still
# there, and its time
UNDO = Script(
    NOW
    + LIVES
    + NUMBERS
    + VERSIONS
    + PUT_BACK
    + WAITING
    + TAKE_OFF
    + f"""
local live = redis.call('HMGET', chat, 'run_id', 'attempt', 'before', 'cut', 'continues', 'came', 'asked')
{LEAVE_LINE_AGAIN}
if live[1] ~= run_id or live[2] ~= attempt then return {{0}} end
{LINE_UP_AGAIN}
redis.call('HDEL', chat, {_LIVE})
redis.call('HDEL', runs, run_id)
redis.call('LREM', ids, -1, run_id)
if live[7] then -- whoever stopped it has been told that it stops
  redis.call('ZADD', early, now + {EARLY_SECONDS} * 1000, run_id)
  redis.call('EXPIRE', early, {EARLY_SECONDS})
end
if stored == '1' and not live[5] then take_off(1) end
take_off(tonumber(live[6]) or 0)
if live[4] and live[4] ~= '' then put_back(live[4]) end
lives({{chat, messages, runs, ids, versions, queue, files}}, life)
lives(all_lists(), life)
local agent, updated_at = string.match(live[3] or '', '^(%S*) (%d+)$')
if not updated_at then
  redis.call('DEL', chat, messages, runs, ids, versions)
  if tonumber(life) == 0 then redis.call('EXPIRE', files, {LOOSE_SECONDS}) end
  return {{1, ''}}
end
redis.call('HSET', chat, 'agent', agent, 'updated_at', updated_at)
return {{1, updated_at}}
""",
    keys="chat messages runs ids versions queue files early",
    args="run_id attempt stored life",
)

# `known`: 1 where only a chat in the index is moved up, 0 where only one that is not in it comes there;
# answers how many chats there are
TOUCH = Script(
    NOW
    + """
local there = redis.call('ZSCORE', index, chat_id) and '1' or '0'
if known == '' or known == there then redis.call('ZADD', index, stamp, chat_id) end
return redis.call('ZCARD', index)
""",
    keys="index",
    args="chat_id known",
)
