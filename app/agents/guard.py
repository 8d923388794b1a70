"""Before and behind each tool: what cannot be read, or what a person refuses, is not carried out, and
errors are told in plain words.

Python's, pydantic's and Strands' own words stay here: they help neither the model nor a reader.
"""

from typing import Any

from strands.hooks import AfterToolCallEvent, BeforeToolCallEvent, HookProvider, HookRegistry

from app.agents.approval import TOLD
from app.agents.plain import plain_words
from app.agents.tee import TeeModel
from app.events import encodable

MOST_OUTPUT = 64 * 1024  # characters of a result that go to the model


class ToolGuard(HookProvider):
    """For agents whose model is a `TeeModel`: it knows what waits, and whom to ask."""

    def register_hooks(self, registry: HookRegistry, **_: Any) -> None:
        registry.add_callback(BeforeToolCallEvent, self._before)
        registry.add_callback(AfterToolCallEvent, self._after)

    async def _before(self, event: BeforeToolCallEvent[Any]) -> None:
        tee: TeeModel = event.agent.model
        used = event.tool_use["toolUseId"]
        if used in tee.unread:
            event.cancel_tool = (
                "The arguments are not a JSON object of moderate size. Call it again with one."
            )
        elif call := tee.gated.pop(used, None):
            verdict = await tee.ask(call)
            if verdict == "allowed":
                tee.begin(call)
            else:
                event.cancel_tool = TOLD[verdict]

    def _after(self, event: AfterToolCallEvent[Any]) -> None:
        if event.cancel_message is None and event.selected_tool is None:
            event.result["content"] = [{"text": "There is no such tool."}]
        elif event.exception is not None:
            event.result["content"] = [{"text": f"Error: {plain_words(event.exception)}"}]
        for part in event.result["content"]:
            if text := part.get("text"):
                part["text"] = encodable(text if len(text) <= MOST_OUTPUT else text[:MOST_OUTPUT] + "… (cut)")
