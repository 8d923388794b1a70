"""Before and behind each tool: what cannot be read is not carried out, and errors are told in plain
words.

Python's, pydantic's and Strands' own words stay here: they help neither the model nor a reader.
"""

from typing import Any

from strands.hooks import AfterToolCallEvent, BeforeToolCallEvent, HookProvider, HookRegistry

from app.agents.plain import plain_words

MOST_OUTPUT = 64 * 1024  # characters of a result that go to the model


class ToolGuard(HookProvider):
    """For one run. `unread`: the ids of calls whose arguments were no object."""

    def __init__(self, unread: set[str]) -> None:
        self._unread = unread

    def register_hooks(self, registry: HookRegistry, **_: Any) -> None:
        registry.add_callback(BeforeToolCallEvent, self._before)
        registry.add_callback(AfterToolCallEvent, self._after)

    def _before(self, event: BeforeToolCallEvent[Any]) -> None:
        if event.tool_use["toolUseId"] in self._unread:
            event.cancel_tool = (
                "The arguments are not a JSON object of moderate size. Call it again with one."
            )

    def _after(self, event: AfterToolCallEvent[Any]) -> None:
        if event.cancel_message is None and event.selected_tool is None:
            event.result["content"] = [{"text": "There is no such tool."}]
        elif event.exception is not None:
            event.result["content"] = [{"text": f"Error: {plain_words(event.exception)}"}]
        for part in event.result["content"]:
            if len(part.get("text", "")) > MOST_OUTPUT:
                part["text"] = part["text"][:MOST_OUTPUT] + "… (cut)"
