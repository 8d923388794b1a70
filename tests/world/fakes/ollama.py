"""Ollama on the wire: `/api/chat` in lines of JSON, `/api/show`, `/api/tags`, `/api/version`.

Formats as in https://github.com/ollama/ollama/blob/main/docs/api.md.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web

from tests.world.fakes.model import FakeModel, run
from tests.world.fakes.reply import Body, Failure, Reply, ToolCall

CREATED_AT = "2026-01-02T03:04:05.678901Z"


class FakeOllama(FakeModel):
    """A fake Ollama. `models`: the names it knows (empty: any); `capabilities` as told by `/api/show`."""

    content_type = "application/x-ndjson"
    late_headers = True
    models: tuple[str, ...] = ()
    capabilities: tuple[str, ...] | None = ("completion", "tools", "vision")
    show_seconds = 0.0  # so long `/api/show` takes
    shown = 0  # how often it was asked
    model_info: Mapping[str, int] = {}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/chat", self._chat),
            web.post("/api/show", self._show),
            web.get("/api/tags", self._tags),
            web.get("/api/version", self._version),
        ]

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body: Body = await request.json()
        if self._unknown(body["model"]):
            return self._not_found(body["model"])
        if body.get("tools") and "tools" not in (self.capabilities or ("tools",)):
            return _error(400, f"registry.ollama.ai/library/{body['model']} does not support tools")
        self._model = str(body["model"])
        return await self.chat(request)

    async def _show(self, request: web.Request) -> web.Response:
        self.shown += 1
        await asyncio.sleep(self.show_seconds)
        model = (await request.json()).get("model", "")
        if self._unknown(model):
            return self._not_found(model)
        details = {
            "format": "gguf",
            "family": "llama",
            "parameter_size": "3.2B",
            "quantization_level": "Q4_K_M",
        }
        told = {} if self.capabilities is None else {"capabilities": list(self.capabilities)}
        return web.json_response(
            {"template": "", "details": details, "model_info": dict(self.model_info), **told}
        )

    async def _tags(self, _: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": name, "model": name} for name in self.models]})

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "0.12.0"})

    def _unknown(self, model: str) -> bool:
        return bool(self.models) and model not in self.models

    def _not_found(self, model: str) -> web.Response:
        return _error(404, f"model '{model}' not found")

    # the wire

    _model = "fake"

    def asked(self, body: Body) -> str:
        return next((str(m["content"]) for m in reversed(body["messages"]) if m["role"] == "user"), "")

    def tool_answered(self, body: Body) -> bool:
        return bool(body["messages"]) and body["messages"][-1]["role"] == "tool"

    def complaint(self, body: Body) -> str:
        for message in body["messages"]:
            if not isinstance(message.get("content", ""), str) or any(
                not isinstance(picture, str) for picture in message.get("images", ())
            ):
                return "json: cannot unmarshal array into Go struct field ChatRequest.messages of type string"
            for call in message.get("tool_calls") or []:
                if not isinstance(call["function"]["arguments"], dict):
                    return (
                        "json: cannot unmarshal string into Go struct field .arguments of type map[string]any"
                    )
        return ""

    def refusal(self, failure: Failure) -> web.Response:
        return _error(failure.status, failure.message)

    def opening(self) -> Iterator[bytes]:
        return iter(())

    def thought(self, text: str) -> bytes:
        return self._line({"content": "", "thinking": text})

    def token(self, text: str) -> bytes:
        return self._line({"content": text})

    def tool_call(self, tool: ToolCall) -> Iterator[bytes]:
        call = {"function": {"name": tool.name, "arguments": tool.input}}
        yield self._line({"content": "", "tool_calls": [call]})

    def closing(self, reply: Reply, used_tool: bool) -> Iterator[bytes]:
        yield self._line(
            {"content": ""},
            done=True,
            done_reason=reply.stop_reason or "stop",
            total_duration=1_000_000,
            load_duration=1_000,
            prompt_eval_count=11,
            prompt_eval_duration=1_000,
            eval_count=1 if used_tool else len(reply.pieces),
            eval_duration=1_000,
        )

    def malformed(self) -> bytes:
        return b'{"model": "fake", "message": {"role": "assis\n'

    def failed(self, failure: Failure) -> bytes:
        return json.dumps({"error": failure.message}).encode() + b"\n"

    def _line(self, message: dict[str, Any], *, done: bool = False, **more: Any) -> bytes:
        line = {
            "model": self._model,
            "created_at": CREATED_AT,
            "message": {"role": "assistant", **message},
            "done": done,
            **more,
        }
        return json.dumps(line).encode() + b"\n"


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


if __name__ == "__main__":
    run(FakeOllama)
