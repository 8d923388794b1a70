"""What people do to a chat at rest: swap versions, fork it, name and instruct it, take out a file. Knows no
HTTP.
"""

import asyncio

from loguru import logger

from app.agents.catalog import Catalog
from app.errors import ChatBusy, ChatExists, FileUsed, NotFound, RedisUnavailable
from app.store.branches import Fork
from app.store.filed import Filed
from app.store.files import NO_FILE
from app.store.keys import Chat
from app.store.records import ChatState, LiveRun, Message
from app.store.store import Store

MOST_TITLE = 200
TRIES = 3
BRANCH = " (branch)"

_EXISTS = "A chat with this id is there already. Choose another one."
_USED = "A message of this chat names this file. It goes with the chat."
_BUSY = "A reply is being made in this chat. Stop it first."


async def swap(store: Store, chat: Chat, version: int) -> None:
    """Puts a version back; what stood there becomes one. Raises `NotFound`, `ChatBusy`."""
    match await store.branches.swap(chat, version):
        case LiveRun() as live:
            raise ChatBusy(_BUSY, run_id=live.run_id, backend=live.backend)
        case "unknown":
            raise NotFound("There is no such version of this chat.")


async def fork(store: Store, chat: Chat, run_id: str, target: Chat) -> Fork:
    """A new chat with everything up to and including the reply of this run.

    Its files are copied first, so it has them from its beginning on. Raises `NotFound`, `ChatExists`,
    `TooLarge` where they find no room, `ChatBusy` for a reply that is still being made.
    """
    state = await store.memory.read(chat)
    if state.live and state.live.run_id == run_id:
        raise ChatBusy(_BUSY, run_id=run_id, backend=state.live.backend)
    record = await store.memory.record(chat, run_id)
    first = (record and record.of) or run_id
    messages = _up_to(state, first)
    last = state.fields.get("last_run", "")
    ends_there = len(messages) == len(state.messages) and not state.live
    title = f"{(state.fields.get('title') or 'Chat')[: MOST_TITLE - len(BRANCH)]}{BRANCH}"
    origin = f"{chat.id} {run_id}"
    if files := _named_files(messages):
        await _check_free(store, target, origin)
        await store.files.copy(chat, target, files)
    made = Fork(origin, title, state.fields, messages, last if ends_there and last else first)
    answer, crowded = await store.branches.fork(chat, target, made)
    if answer != "forked":
        raise ChatExists(_EXISTS)
    if crowded:
        await _evict(store, target)
    return made


async def edit(store: Store, catalog: Catalog, chat: Chat, wanted: dict[str, str]) -> None:
    """Sets the fields of a chat, removes empty ones. Raises `NotFound`, `UnknownAgent`."""
    fields = dict(wanted)
    if "title" in fields:
        fields["named"] = "1"  # by a person
    if agent := fields.get("agent"):
        fields["chosen"] = catalog.get(agent).name
    if not await store.branches.edit(chat, fields):
        raise NotFound("There is no such chat.")


async def remove_file(store: Store, chat: Chat, file_id: str) -> None:
    """Takes out a file that no message names. Raises `NotFound`, `FileUsed`."""
    for _ in range(TRIES):
        (file,) = await store.files.look_up(chat, [file_id])
        state = await store.memory.read(chat)
        if any(file_id == file["file_id"] for one in state.newest_first() for file in one.files or ()):
            break
        first = state.fields.get("first", "")
        read = (int(first) if first.isdigit() else 0) + len(state.messages)
        match await store.files.remove(chat, file, state.fields.get("version", ""), read):
            case "gone":
                return
            case "unknown":
                raise NotFound(NO_FILE)
            case "used":
                break
    raise FileUsed(_USED)


async def _check_free(store: Store, target: Chat, origin: str) -> None:
    """Raises `ChatExists` for a chat that is there and is not this fork already."""
    fields = (await store.memory.state(target)).fields
    if fields and fields.get("forked") != origin:
        raise ChatExists(_EXISTS)


def _named_files(messages: list[Message]) -> list[Filed]:
    """What these messages name, each once."""
    named = {file["file_id"]: file for message in messages for file in message.files or ()}
    return [Filed.read(file) for file in named.values()]


def _up_to(state: ChatState, run_id: str) -> list[Message]:
    for at, message in enumerate(state.messages):
        if message.role == "assistant" and message.run_id == run_id:
            return state.messages[: at + 1]
    raise NotFound("There is no reply of this run in the chat.")


async def _evict(store: Store, chat: Chat) -> None:
    """The new chat is made all the same; the next start tries again."""
    try:
        async with asyncio.timeout(1):
            await store.shelf.evict(chat.owner)
    except (RedisUnavailable, TimeoutError):
        logger.debug("chat_id=<{}> | more chats than may be kept, for now", chat.id)
