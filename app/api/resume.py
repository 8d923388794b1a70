"""AG-UI's way to answer a tool call that waits: a run that resumes the one that asked.

To us that is the same run, read on from behind the question.
"""

import json
from typing import Any

from ag_ui.core import ResumeEntry, RunAgentInput

from app.agents.calls import MOST_CALLS
from app.api.agui_frames import AgUi
from app.api.doors import malformed
from app.api.sse import RunStream
from app.backend import Backend
from app.errors import NotFound
from app.events import Event, Start, Tool
from app.store.approvals import Lasting
from app.store.keys import Chat

_PAYLOAD = ("body", "resume", "payload")
_GONE = "The events of that run are no longer kept."


async def resumed(here: Backend, chat: Chat, ask: RunAgentInput, *, leaving_ends: bool) -> RunStream:
    """Answers all that is answered here, or nothing where any of it cannot be; streams what comes behind it.

    Raises `NotFound`, `NotAsked`, `RedisUnavailable`.
    """
    said = [_read_answer(entry) for entry in ask.resume or ()]
    if len(said) > MOST_CALLS:
        raise malformed(f"at most {MOST_CALLS} at once", *_PAYLOAD)
    await here.approving.check(chat, [used for used, *_ in said])
    calls = [await _answer(here, chat, *one) for one in said]
    run_id = calls[-1][0]
    events = await here.store.log.read(chat, run_id)
    asked = {used for _, used in calls}
    places = [place for place, event in enumerate(events, 1) if _asks(event, asked)]
    reading = await here.readers.attach(chat, f"{run_id}:{max(places, default=0)}", only=True)
    if not reading or not isinstance(start := events[0] if events else None, Start):
        if reading:
            reading.close()
        raise NotFound(_GONE)
    if leaving_ends:
        reading.ends = lambda: here.stopping.stop_later(chat, run_id)
    frame = AgUi(reading.feed, ask.run_id)
    hello = f"data: {json.dumps(frame.opening(start))}\n\n".encode()
    headers = {"X-Run-Id": run_id, "X-Chat-Id": chat.id}
    return RunStream(reading, frame, "text/event-stream; charset=utf-8", headers, hello=hello)


def _read_answer(entry: ResumeEntry) -> tuple[str, bool, Lasting]:
    """What was answered to which call; an answer that was given up refuses."""
    told: Any = entry.payload if isinstance(entry.payload, dict) else {"approved": entry.payload}
    told = told if entry.status == "resolved" else {"approved": False}
    approve, lasts = told.get("approved"), told.get("for", "once")
    if not isinstance(approve, bool) or lasts not in ("once", "chat"):
        raise malformed('must be {"approved": true or false}', *_PAYLOAD)
    return entry.interrupt_id, approve, lasts


async def _answer(here: Backend, chat: Chat, used: str, approve: bool, lasts: Lasting) -> tuple[str, str]:
    """The run that asked, and its call."""
    call = await here.approving.decide(chat, used, approve=approve, lasting=lasts)
    return call.run_id, call.tool_use_id


def _asks(event: Event, calls: set[str]) -> bool:
    return type(event) is Tool and event.status == "asked" and event.tool_use_id in calls
