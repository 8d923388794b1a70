"""An OpenAI-compatible server on the wire: `/v1/chat/completions`, `/v1/models`, llama.cpp's `/props`.

Speaks as OpenAI does (https://platform.openai.com/docs/api-reference/chat), and with a `Dialect` as
llama.cpp, vLLM, SGLang, LM Studio or LiteLLM do. Refuses what some of them refuse.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from tests.world.fakes.model import FakeModel, run
from tests.world.fakes.reply import Body, Failure, Reply, ToolCall

LAST_WORDS = "The end."
WRONG_KEY = Failure(401, "invalid_api_key", "Incorrect API key provided: provider-secret")


@dataclass(frozen=True)
class Dialect:
    """How a server differs. The defaults are OpenAI's own ways.

    `thoughts`: the field they come in, or `<think>` for marks inside the text.
    `usage`: behind the finish, with it, or not at all. `finish_with_last`: in one chunk with `LAST_WORDS`.
    `ids`: whether calls have one, `null` or none. `arguments`: characters of a call's arguments per piece, 0
    for an object instead of a string. `errors`: as data, or as a line `error:`. `refuses`: options that are
    answered with 400. `whole`: one JSON body though a stream was asked. `page`: an HTML page with 200, as a
    proxy sends it. `reads`: tells that so many tokens of the prompt have been read, in steps of 64.
    `loading`: so many requests find it loading. `knows`: the models it has, none: whatever is asked for.
    """

    thoughts: Literal["reasoning_content", "reasoning", "<think>"] = "reasoning_content"
    usage: Literal["behind", "with", "none"] = "behind"
    finish_with_last: bool = False
    ids: Literal["given", "null", "missing"] = "given"
    index: bool = True
    arguments: int = 5
    errors: Literal["data", "line"] = "data"
    done: bool = True
    comments: bool = False
    crlf: bool = False
    refuses: tuple[str, ...] = ()
    whole: bool = False
    page: bool = False
    reads: int = 0
    loading: int = 0
    knows: tuple[str, ...] = ()


class FakeOpenAI(FakeModel):
    """A fake server. `props`: what llama.cpp tells of itself (none: it is not llama.cpp); `key`: the only
    `Authorization` it takes.
    """

    content_type = "text/event-stream"

    def __init__(self, default: Reply | None = None, *, port: int = 0) -> None:
        super().__init__(default, port=port)
        self.dialect = Dialect()
        self.props: dict[str, Any] | None = None
        self.models: list[dict[str, Any]] = [{"id": "fake", "object": "model"}]
        self.key = ""
        self._left_loading = 0

    def forget(self) -> None:
        super().forget()
        self.speak(Dialect())

    def speak(self, dialect: Dialect) -> None:
        """From now on this dialect."""
        self.dialect, self._left_loading = dialect, dialect.loading

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/chat/completions", self._chat),
            web.get("/v1/models", self._models),
            web.get("/props", self._props),
        ]

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body: Body = await request.json()
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return self.refusal(
                Failure(401, "invalid_api_key", "Incorrect API key provided: provider-secret")
            )
        if self.dialect.knows and body["model"] not in self.dialect.knows:
            return self.refusal(
                Failure(404, "model_not_found", f"The model `{body['model']}` does not exist")
            )
        if self._left_loading:
            self._left_loading -= 1
            return self.refusal(Failure(503, "unavailable_error", "Loading model"))
        if wrong := _wrong(body) or next((name for name in self.dialect.refuses if name in body), ""):
            return self.refusal(Failure(400, "invalid_request_error", f"Unsupported parameter: '{wrong}'"))
        if self.dialect.page:
            return web.Response(text="<!doctype html><p>Please sign in", content_type="text/html")
        self._usage_asked = bool(body.get("stream_options", {}).get("include_usage"))
        return self._whole() if self.dialect.whole else await self.chat(request)

    async def _models(self, request: web.Request) -> web.Response:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return self.refusal(
                Failure(401, "invalid_api_key", "Incorrect API key provided: provider-secret")
            )
        return web.json_response({"object": "list", "data": self.models})

    async def _props(self, _: web.Request) -> web.Response:
        if self.props is None:
            return web.json_response({"detail": "Not Found"}, status=404)
        return web.json_response(self.props)

    def _whole(self) -> web.Response:
        message = {"role": "assistant", "content": self.default.text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        whole = {"object": "chat.completion", "choices": [choice], "usage": _usage(len(self.default.pieces))}
        return web.Response(text=json.dumps(whole, indent=1), content_type="application/json")

    # the wire

    _usage_asked = True
    _thinking = False  # inside marks

    def asked(self, body: Body) -> str:
        return next((str(m["content"]) for m in reversed(body["messages"]) if m["role"] == "user"), "")

    def tool_answered(self, body: Body) -> bool:
        return bool(body["messages"]) and body["messages"][-1]["role"] == "tool"

    def complaint(self, body: Body) -> str:
        roles = [message["role"] for message in body["messages"]]
        if roles.count("system") > 1 or "system" in roles[1:]:
            return "System message must be at the beginning."
        return "tools must not be empty" if body.get("tools") == [] else ""

    def refusal(self, failure: Failure) -> web.Response:
        error = {"message": failure.message, "type": failure.code, "param": None, "code": failure.code}
        return web.json_response({"error": error}, status=failure.status)

    def opening(self) -> Iterator[bytes]:
        yield self._chunk({"role": "assistant", "content": ""})
        if self.dialect.comments:
            yield b": OPENROUTER PROCESSING\n\n"
        for read in range(64, self.dialect.reads + 64, 64):
            progress = {"total": self.dialect.reads, "cache": 0, "processed": min(read, self.dialect.reads)}
            yield self._chunk({"role": "assistant", "content": None}, prompt_progress=progress)

    def thought(self, text: str) -> bytes:
        if self.dialect.thoughts == "<think>":
            mark, self._thinking = "" if self._thinking else "<think>\n", True
            return self._chunk({"content": f"{mark}{text}"})
        return self._chunk({"content": None, self.dialect.thoughts: text})

    def token(self, text: str) -> bytes:
        mark, self._thinking = "\n</think>\n\n" if self._thinking else "", False
        text = mark + text
        return self._chunk({"content": text})

    def tool_call(self, tool: ToolCall) -> Iterator[bytes]:
        yield from self.tool_calls([tool])

    def tool_calls(self, tools: list[ToolCall]) -> Iterator[bytes]:
        """Several calls, their pieces mixed where there is an index to tell them apart."""
        queues = [list(self._call(number, tool)) for number, tool in enumerate(tools)]
        if not self.dialect.index:
            queues = [[piece for queue in queues for piece in queue]]
        while any(queues):
            for queue in queues:
                if queue:
                    yield self._chunk({"tool_calls": [queue.pop(0)]})

    def _call(self, number: int, tool: ToolCall) -> Iterator[dict[str, Any]]:
        index = {"index": number} if self.dialect.index else {}
        kinds: dict[str, dict[str, Any]] = {
            "given": {"id": tool.tool_use_id}, "null": {"id": None}, "missing": {},
        }  # fmt: skip
        ids = kinds[self.dialect.ids]
        text, step = json.dumps(tool.input), self.dialect.arguments
        start: dict[str, Any] = {"name": tool.name, "arguments": "" if step else tool.input}
        yield {**index, **ids, "type": "function", "function": start}
        for at in range(0, len(text) if step else 0, step or 1):
            yield {**index, "function": {"arguments": text[at : at + step]}}

    def closing(self, reply: Reply, used_tool: bool) -> Iterator[bytes]:
        reason = "tool_calls" if used_tool else reply.stop_reason or "stop"
        usage = _usage(1 if used_tool else len(reply.pieces))
        told = self.dialect.usage != "none" and self._usage_asked
        last: dict[str, Any] = (
            {"content": LAST_WORDS} if self.dialect.finish_with_last and not used_tool else {}
        )
        with_it: dict[str, Any] = {"usage": usage} if told and self.dialect.usage == "with" else {}
        yield self._chunk(last, finish=reason, **with_it)
        if told and self.dialect.usage == "behind":
            yield self._data({"object": "chat.completion.chunk", "choices": [], "usage": usage})
        if self.dialect.done:
            yield self._lines(b"data: [DONE]")

    def malformed(self) -> bytes:
        return b'data: {"choices": [{"delta": {"conte\n\n'

    def failed(self, failure: Failure) -> bytes:
        error = {"message": failure.message, "type": failure.code, "code": failure.code}
        if self.dialect.errors == "line":
            return self._lines(b"error: " + json.dumps(error).encode())
        return self._data({"error": error})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        head = {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1, "model": "fake"}
        return self._data({**head, "choices": [choice], "usage": None, **more})

    def _data(self, payload: dict[str, Any]) -> bytes:
        return self._lines(b"data: " + json.dumps(payload).encode())

    def _lines(self, line: bytes) -> bytes:
        return line + (b"\r\n\r\n" if self.dialect.crlf else b"\n\n")


def _is_part(part: Any) -> bool:
    """A piece of a message as OpenAI describes it."""
    if part.get("type") == "text":
        return bool(part["text"])
    url = part.get("image_url", {}).get("url", "")
    return part.get("type") == "image_url" and str(url).startswith("data:image/")


def _usage(made: int) -> dict[str, int]:
    return {"prompt_tokens": 11, "completion_tokens": made, "total_tokens": 11 + made}


def _wrong(body: Body) -> str:
    """What servers with strict templates or strict readers refuse in this request."""
    roles = [message["role"] for message in body["messages"]]
    calls = {call["id"] for message in body["messages"] for call in message.get("tool_calls", ())}
    if "system" in roles[1:]:
        return "system message behind the beginning"
    if roles[-1] == "assistant":
        return "assistant message at the end"
    if body.get("tools") == []:
        return "tools"
    for message in body["messages"]:
        content = message["content"]
        if isinstance(content, list) and message["role"] == "user" and all(map(_is_part, content)):
            continue
        if not isinstance(content, str) or not (content or message.get("tool_calls")):
            return "empty content"
        if message["role"] == "tool" and message["tool_call_id"] not in calls:
            return "tool_call_id"
        for call in message.get("tool_calls", ()):
            if not isinstance(json.loads(call["function"]["arguments"]), dict):
                return "arguments"
    return ""


if __name__ == "__main__":
    run(FakeOpenAI)
