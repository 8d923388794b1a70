"""AG-UI 1.0: its runs are ours (`runId`), its threads our chats, which become the conversation that
is sent.

What comes in is read by the protocol's package, what goes out is written by hand and checked
against it in the tests. Its own client's only stop is to hang up.
"""

from typing import Annotated, Any

from ag_ui.core import Message, RunAgentInput
from fastapi import APIRouter, Path, Response

from app.agents.wishes import Wishes
from app.api.agui_frames import AgUi
from app.api.bodies.fields import AgentName, ChatId, RunId
from app.api.brought import Brought, Content
from app.api.doors import ASSISTANT, USER, Part, given, system_of, valid
from app.api.here import Here
from app.api.keys import Owner
from app.api.problems import answers
from app.api.resume import resumed
from app.api.sse import RunStream
from app.chat.question import Question
from app.store.keys import Chat

PROTOCOL = "1.0"

router = APIRouter(prefix="/api/v1", tags=["AG-UI"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "AG-UI events", "content": {"text/event-stream": {}}}
}


@router.post(
    "/ag-ui/{agent}",
    response_class=Response,
    responses=_STREAM | answers(400, 409, 413, 503),
)
async def ag_ui(
    agent: Annotated[AgentName, Path(examples=["general"])], ask: RunAgentInput, here: Here, of: Owner
) -> Response:
    """Run an agent on an AG-UI conversation; a repeated runId attaches to the first run, `resume` goes
    on with the one that asked.
    """
    chat_id = valid(ChatId, ask.thread_id, "body", "threadId")
    run_id = valid(RunId, ask.run_id, "body", "runId")
    props = ask.forwarded_props if isinstance(ask.forwarded_props, dict) else {}
    leaving_ends = props.get("onDisconnect") != "continue"
    if ask.resume:
        return await resumed(here, Chat(of, chat_id), ask, leaving_ends=leaving_ends)
    chat = Chat(of, chat_id)
    said = await Brought.read(_spoken(ask.messages), here)
    turns, asked = given(said.messages)
    context = "\n\n".join(f"{one.description}: {one.value}" for one in ask.context or ())
    wishes = Wishes(system_of([*((one.role, one.content) for one in said.messages), ("system", context)]))
    await said.put_in(chat, agent, here)
    question = Question(
        asked.content, agent, run_id, "replace", turns=turns, wishes=wishes, files=tuple(asked.files or ())
    )
    reading = await here.chats.send(chat, question, leaving_ends=leaving_ends)
    headers = {"X-Run-Id": run_id, "X-Chat-Id": chat_id}
    return RunStream(reading, AgUi(reading.feed), "text/event-stream; charset=utf-8", headers)


def _spoken(messages: list[Message]) -> list[tuple[str, Content]]:
    """What was said; the messages of one reply, which tools and thoughts part, are one again."""
    turns: list[tuple[str, Content]] = []
    for one in messages:
        content: Any = one.content
        if one.role == ASSISTANT and turns and turns[-1][0] == ASSISTANT:
            turns[-1] = (ASSISTANT, f"{turns[-1][1]}{content or ''}")
        elif one.role == ASSISTANT:
            turns.append((ASSISTANT, content or ""))
        elif one.role in ("system", "developer", USER):
            turns.append((one.role, [*map(_as_elsewhere, content)] if isinstance(content, list) else content))
    return turns


def _as_elsewhere(part: Any) -> Part:
    """A piece of a message as the other doors have it: a picture as a `data:` URL, whatever brings it."""
    if part.type != "image":
        return Part(type=part.type, text=getattr(part, "text", None))
    source = part.source
    url = f"data:{source.mime_type};base64,{source.value}" if source.type == "data" else source.value
    return Part(type="image_url", image_url=url)
