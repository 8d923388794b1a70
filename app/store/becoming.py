"""A chat becomes a conversation that a client brings: a piece of the script START.

What the chat has already, from its beginning on, stays as it is, with its runs and facts. From the
first difference on the brought turns take its place, and what stood there is a version of the
question that stands there then. No message is decoded: the turns are compared as they are written.
A turn that was brought has no run; `~<attempt>.<n>` stands in the place of its id.
"""

# the turns are the tail, `own` is the line of the question of the run, false where there is none.
# Answers the version that was made, empty for none, and how many lines came. A reply that says
# nothing is one that no client brings back. Versions are those of a question: where a reply differs,
# its question goes with it, and stands again
BECOME = """
local SILENT = '{"role": "assistant", "content": ""}'
local function tells(line, body)
  local _, head = string.find(line, '^%d+ %S+ ')
  if not head then return false end
  local length = #body - 1 -- without the bracket: a reply may have more behind its text
  local behind = string.sub(line, head + length + 1, head + length + 1)
  if behind ~= ',' and behind ~= '}' then return false end
  return string.sub(line, head + 1, head + length) == string.sub(body, 1, length)
end
local function asks(line)
  return line and string.find(line, '^%d+ %S+ {"role": "user"') ~= nil
end
local function become(own)
  local old, brought = redis.call('LRANGE', messages, 0, -1), #ARGV - tail + 1
  local place, taken, came, bytes = 0, 0, {}, 0
  while place < #old do
    local line = old[place + 1]
    local turn = taken < brought and ARGV[tail + taken]
    local told = turn and tells(line, turn)
    local silent = tells(line, SILENT) and not (turn and string.find(turn, '{"role": "assistant"', 1, true))
    if not told and not silent then break end
    place, taken = place + 1, taken + (told and 1 or 0)
  end
  for n = taken + 1, brought do
    came[#came + 1] = stamp .. ' ~' .. attempt .. '.' .. n .. ' ' .. ARGV[tail + n - 1]
  end
  local version = ''
  if place < #old then
    local differs = asks(old[place + 1]) and asks(came[1] or own)
    while place > 0 and not differs do
      table.insert(came, 1, old[place])
      differs = asks(old[place])
      place = place - 1
    end
    version = cut(place, string.match(came[1] or own, '^%d+ (%S+)'))
  end
  for _, line in ipairs(came) do
    redis.call('RPUSH', messages, line)
    bytes = bytes + #line
  end
  add(chat, 'bytes', bytes)
  return version, #came
end
"""

# of UNDO: takes so many lines off the end of the chat again
TAKE_OFF = """
local function take_off(lines)
  for _ = 1, lines do add(chat, 'bytes', -#(redis.call('RPOP', messages) or '')) end
end
"""
