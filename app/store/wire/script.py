"""Commands and scripts, described. Nothing here reaches Redis: a connection carries out what it is handed."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from app.store.keys import TYPES

Words = tuple[Any, ...]

# a script that fails in its middle has done half: so what its keys are is looked at first
_SOUND = """
local function sound(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then redis.call('UNLINK', key) end
end
"""


class Command(Words):
    """One command. Functions describe commands, `Connection.do` acts."""

    __slots__ = ()

    if TYPE_CHECKING:  # a command that is described and then dropped is an error of mypy (unused-awaitable)

        def __await__(self) -> NoReturn: ...


class Lasting(Command):
    """A command that is answered only when a replica has it too, so that no failover takes it back."""

    __slots__ = ()


def command(*words: Any) -> Command:
    """Describes a plain command."""
    return Command(words)


class Script:
    """A Lua script with named keys and arguments, and the SHA-1 by which Redis knows it.

    `keys` and `args` are names, separated by spaces; the script finds each as a local of that name.
    With `tail` it takes any number of further values, the first of them at `ARGV[tail]`. All its
    keys share a hash tag; one that holds another type than it should is removed first. What a
    `lasting` one has answered survives the death of a primary that has a replica.
    """

    def __init__(
        self, text: str, *, keys: str, args: str = "", tail: bool = False, lasting: bool = False
    ) -> None:
        self._keys, self._args = keys.split(), args.split()
        self._names = {*self._keys, *self._args}
        self._tail = tail
        self._kind = Lasting if lasting else Command
        self.text = "\n".join([*self._locals(), text])
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, *tail: str | bytes, **values: str | float) -> Command:
        """Describes one run of the script. Raises `TypeError` for a wrong or missing key or argument."""
        if values.keys() != self._names:
            wrong = sorted(values.keys() ^ self._names)
            raise TypeError(f"missing or unknown: {', '.join(wrong)}")
        if tail and not self._tail:
            raise TypeError("this script takes named arguments only")
        found = [_checked(name, values) for name in (*self._keys, *self._args)]
        return self._kind(("EVALSHA", self.sha, len(self._keys), *found, *tail))

    def over(self, keys: Sequence[str], *tail: str) -> Command:
        """Describes one run over any number of keys, for a script that names none."""
        return self._kind(("EVALSHA", self.sha, len(keys), *keys, *tail))

    def _locals(self) -> list[str]:
        named = [("KEYS", self._keys), ("ARGV", self._args)]
        lines = [
            f"local {', '.join(names)} = {_places(array, len(names))}" for array, names in named if names
        ]
        if self._tail:
            lines.append(f"local tail = {len(self._args) + 1}")
        checked = [f"sound({key}, '{TYPES[key]}')" for key in self._keys if key in TYPES]
        return [*lines, *([_SOUND, *checked] if checked else [])]


def _places(array: str, count: int) -> str:
    return ", ".join(f"{array}[{n}]" for n in range(1, count + 1))


def _checked(name: str, values: Mapping[str, object]) -> object:
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(f"{name} must be a text or a number")
    return value
