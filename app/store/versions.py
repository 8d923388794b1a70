"""The versions of a chat: what stood in it before. Pieces of the scripts, and how they are read.

A question and all behind it that are taken off a chat become a version: in the hash `<run id> <place>`
says which question stands there now and where, counted from the first message ever, and
`<version>:bytes` what it weighs; its lines are a list of its own. Where no run asked a question
something else stands for its id. Lists move as they are, and what is weighed or moved line by line
is the smaller part.

Earlier releases kept the lines as one text, `<version>:lines`; it becomes a list when the version is
put back.
"""

from app.store.keys import Chat
from app.store.lines import as_text, readable
from app.store.records import Version
from app.store.wire.connection import Connection
from app.store.wire.node import pairs
from app.store.wire.script import command

MOST_VERSIONS = 10  # of a chat

# their numbers, oldest first; where the lines of one lie; what it weighs; how one goes; and how what
# stood in the place of the question `old` stands in that of `new`
VERSIONS = """
local function all_versions()
  local found = {}
  for _, field in ipairs(redis.call('HKEYS', versions)) do
    if string.match(field, '^%d+$') and sane(field) then found[#found + 1] = field end
  end
  table.sort(found, function(a, b) return sane(a) < sane(b) end)
  return found
end
local function lines_of(version)
  local key = versions .. ':' .. version
  sound(key, 'list')
  return key
end
local function weight_of(version)
  local text = redis.call('HSTRLEN', versions, version .. ':lines')
  return text > 0 and text or math.max(0, number(versions, version .. ':bytes'))
end
local function forget_version(version)
  redis.call('UNLINK', lines_of(version))
  redis.call('HDEL', versions, version, version .. ':bytes', version .. ':lines')
end
local function all_lists()
  local keys = {}
  for n, version in ipairs(all_versions()) do keys[n] = lines_of(version) end
  return keys
end
local function stand_for(old, new)
  for _, version in ipairs(all_versions()) do
    local anchor, at = string.match(redis.call('HGET', versions, version), '^(%S+) (%d+)$')
    if anchor == old then redis.call('HSET', versions, version, new .. ' ' .. at) end
  end
end
"""

# takes the messages from a place on off the chat and keeps them as a version of the question
# `stands`
CUT = """
local function weigh(from, to)
  local sum = 0
  for at = from, to do sum = sum + #redis.call('LINDEX', messages, at) end
  return sum
end
local function weight_from(place)
  local length = redis.call('LLEN', messages)
  if length - place <= place then return weigh(place, length - 1) end
  local sum = number(chat, 'bytes') - weigh(0, place - 1)
  for _, version in ipairs(all_versions()) do sum = sum - weight_of(version) end
  return math.max(0, sum)
end
local function cut(place, stands)
  local gone, weight = run_at(place), weight_from(place)
  stand_for(gone, stands)
  local version = add(chat, 'version', 1)
  local key, from = lines_of(version), string.format('%.0f', place + number(chat, 'first'))
  if place == 0 then
    redis.call('RENAME', messages, key)
  else
    redis.call('COPY', messages, key, 'REPLACE')
    redis.call('LTRIM', messages, 0, place - 1)
    redis.call('LTRIM', key, place, -1)
  end
  redis.call('HSET', versions, version, stands .. ' ' .. from,
    version .. ':bytes', string.format('%.0f', weight))
  return version, gone
end
"""

# puts the lines of a version back to the end of the chat; its siblings are versions of its question
# again
PUT_BACK = """
local function listed(version)
  local key, text = lines_of(version), redis.call('HGET', versions, version .. ':lines')
  if text then
    redis.call('DEL', key)
    for line in string.gmatch(text, '[^\\n]+') do redis.call('RPUSH', key, line) end
    add(chat, 'bytes', 1 - redis.call('LLEN', key)) -- the line feeds between them
    redis.call('HDEL', versions, version .. ':lines')
  end
  return key
end
local function append(key)
  local here, more = redis.call('LLEN', messages), redis.call('LLEN', key)
  if more == 0 then return end
  if more <= here then
    for _ = 1, more do redis.call('LMOVE', key, messages, 'LEFT', 'RIGHT') end
  else
    for _ = 1, here do redis.call('LMOVE', messages, key, 'RIGHT', 'LEFT') end
    redis.call('RENAME', key, messages)
  end
end
local function put_back(version)
  local stood = string.match(redis.call('HGET', versions, version) or '', '^(%S+)')
  local key = listed(version)
  local question = string.match(redis.call('LINDEX', key, 0) or '', '^%d+ (%S+)') or ''
  add(chat, 'version', 1) -- whoever reads page by page begins again
  append(key)
  redis.call('HDEL', versions, version, version .. ':bytes')
  stand_for(stood, question)
end
"""


async def read_versions(
    redis: Connection, chat: Chat, rows: list[bytes]
) -> tuple[dict[str, list[Version]], list[bytes] | None]:
    """The versions that can be read, by the run id of the question that stands there now, oldest
    first, and how the chat's hash looks then, None where it was not looked at; `rows`: their hash.

    Raises `RedisUnavailable`.
    """
    fields = {as_text(name): value for name, value in pairs(rows)}
    numbers = sorted(int(name) for name in fields if name.isdecimal() and name.isascii())
    if not numbers:
        return {}, None
    asked = [command("LRANGE", f"{chat.versions}:{number}", 0, -1) for number in numbers]
    *lists, hashed = await redis.do_all([*asked, command("HGETALL", chat.key)])
    found: dict[str, list[Version]] = {}
    for number, lines in zip(numbers, lists, strict=True):
        old = fields.get(f"{number}:lines", b"").splitlines()
        if messages := readable(old or lines):
            anchor = as_text(fields[str(number)].split(b" ")[0])
            found.setdefault(anchor, []).append(Version(number, messages))
    return found, hashed
