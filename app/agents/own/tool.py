"""One of the user's tools, as Strands sees it."""

from typing import Any

from loguru import logger
from strands.types.tools import AgentTool, ToolGenerator, ToolSpec, ToolUse

from app.agents.own.caller import Caller, ToolFile
from app.agents.own.workshop import ProcessGone


class OwnTool(AgentTool):
    """Of one version of a file; a stop of the reply that uses it ends its process."""

    def __init__(self, caller: Caller, file: ToolFile, spec: dict[str, Any]) -> None:
        super().__init__()
        self._caller = caller
        self._file = file
        self._spec: ToolSpec = {
            "name": str(spec["name"]),
            "description": str(spec["description"]),
            "inputSchema": spec["inputSchema"],
        }

    @property
    def path(self) -> str:
        return self._file.path

    @property
    def tool_name(self) -> str:
        return self._spec["name"]

    @property
    def tool_spec(self) -> ToolSpec:
        return self._spec

    @property
    def tool_type(self) -> str:
        return "own"

    async def stream(self, tool_use: ToolUse, invocation_state: dict[str, Any], **_: Any) -> ToolGenerator:  # noqa: ARG002
        try:
            well, said = await self._caller.carry_out(self._file, self.tool_name, tool_use["input"])
        except TimeoutError:
            well, said = False, "Error: the tool took too long"
        except (ProcessGone, ValueError) as error:
            logger.warning("tool=<{}>, reason=<{}> | a tool failed", self.tool_name, error)
            well, said = False, "Error: the tool failed"
        status = "success" if well else "error"
        yield {"toolUseId": tool_use["toolUseId"], "status": status, "content": [{"text": said}]}
