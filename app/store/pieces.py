"""Pieces of Lua that the scripts are made of; those for versions are in `versions`."""

LOOSE_SECONDS = 3600  # the life of files without a chat where chats live for ever
MOST_RUNS = 256  # that are known in a chat

NOW = """
local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(micros / 1000)
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

# the run id of the message at an index of the list
RUN_AT = """
local function run_at(place)
  return string.match(redis.call('LINDEX', messages, place) or '', '^%d+ (%S+)')
end
"""

# the index in the list of the question of a run, if it still stands there; a run that continued a
# reply has the question of that one (`of`)
PLACE = """
local function place_of(id)
  local record = decoded(redis.call('HGET', runs, id))
  if not record or not sane(record.place) then return nil end
  local place = sane(record.place) - number(chat, 'first')
  return place >= 0 and run_at(place) == (record.of or id) and place or nil
end
"""
