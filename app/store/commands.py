"""Commands that go along with others, described as plain functions; `Connection.do` and `do_all`
carry them out.
"""

import json

from app.store.keys import Chat, held, index
from app.store.records import LiveRun
from app.store.scripts import TOUCH
from app.store.stops import TAKE
from app.store.wire.script import Command, command


def hold(chat: Chat, run: LiveRun) -> Command:
    """Lists a run under its process, before it begins."""
    about = {"owner": chat.owner, "chat_id": chat.id, "run_id": run.run_id}
    return command("HSET", held(run.process), run.attempt, json.dumps(about))


def release(run: LiveRun) -> Command:
    """Takes a run off the list of its process."""
    return command("HDEL", held(run.process), run.attempt)


def let_go(chat: Chat, run: LiveRun) -> list[Command]:
    """Takes a run that ends off the list of its process, and consumes a stop meant for it."""
    return [release(run), TAKE(stop=chat.stop, value=run.run_id)]


def touch(chat: Chat, *, known: bool | None = None) -> Command:
    """Puts a chat at the top of the index, with `known` only one that is in it, or is not; answers their
    number.
    """
    return TOUCH(index=index(chat.owner), chat_id=chat.id, known="" if known is None else int(known))


def touch_name(key: str, name: str) -> Command:
    """Puts a name at the end of a sorted set by time."""
    return TOUCH(index=key, chat_id=name, known="")
