"""OpenAI's chat completions as lines: how a turn is asked, and what the pieces of an answer say.

Pure; knows no network. The format is that of https://platform.openai.com/docs/api-reference/chat,
with what llama.cpp, vLLM, SGLang, LM Studio and LiteLLM do differently.
"""

import json
import re
import uuid
from base64 import b64encode
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any

from strands.types.content import ContentBlock, Message, Messages

from app.agents.failures import ProviderError, failure
from app.agents.models.envelope import Envelope
from app.agents.models.lines import loaded
from app.agents.models.thinking import Thinking

LEAST, MOST = 2, 64  # lines that are read at a time: parsed whole, and in their envelope
_REASONS = {"length": "max_tokens", "content_filter": "content_filtered"}


def messages_for(messages: Messages, system: str | None, thoughts: str | None) -> list[dict[str, Any]]:
    """The messages of a request: one system message, texts as strings, nothing empty.

    `thoughts` is the name under which this server sends what a model thinks, and gets it back.
    """
    formed = [{"role": "system", "content": system}] if system else []
    for message in messages:
        formed += _formed(message, thoughts)
    return formed


def tools_for(specs: Any) -> list[dict[str, Any]]:
    """The tools of a request."""
    return [
        {
            "type": "function",
            "function": {
                "name": spec["name"],
                "description": spec["description"],
                "parameters": spec["inputSchema"]["json"],
            },
        }
        for spec in specs or []
    ]


def _picture(image: Any) -> dict[str, Any]:
    encoded = b64encode(image["source"]["bytes"]).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/{image['format']};base64,{encoded}"}}


def _formed(message: Message, thoughts: str | None) -> list[dict[str, Any]]:
    blocks = message["content"]
    results = [_result(block) for block in blocks if "toolResult" in block]
    text = "\n\n".join(block["text"] for block in blocks if block.get("text", "").strip())
    calls = [_called(block) for block in blocks if "toolUse" in block]
    if not (text or calls):
        return results
    pictures = [_picture(block["image"]) for block in blocks if "image" in block]
    content = [*pictures, {"type": "text", "text": text}] if pictures else text
    formed: dict[str, Any] = {"role": message["role"], "content": content}
    if calls:
        formed["tool_calls"] = calls
        if thoughts and (thought := "".join(map(_given_back, blocks))):
            formed[thoughts] = thought
    return [*results, formed]


def _result(block: ContentBlock) -> dict[str, Any]:
    result = block["toolResult"]
    content = "\n".join(part["text"] if "text" in part else json.dumps(part) for part in result["content"])
    return {"role": "tool", "tool_call_id": result["toolUseId"], "content": content}


def _called(block: ContentBlock) -> dict[str, Any]:
    use = block["toolUse"]
    function = {"name": use["name"], "arguments": json.dumps(use["input"], ensure_ascii=False)}
    return {"id": use["toolUseId"], "type": "function", "function": function}


def _given_back(block: ContentBlock) -> str:
    reasoning = block.get("reasoningContent", {}).get("reasoningText", {})
    return reasoning.get("text", "")


class Answer:
    """What has been said so far. `hear` returns what some lines add: `(kind, text)`, kind `text` or
    `reasoning`, and `(progress, …)` where the server tells how far it has read the prompt.
    """

    def __init__(self) -> None:
        self.usage: dict[str, Any] = {}
        self.finish: str | None = None
        self.done = False  # the server has said that nothing follows
        self.thoughts: str | None = None  # the name under which the server sends them
        self.error: Exception | None = None  # counts after what stands before it
        self._calls: list[dict[str, Any]] = []
        self._think = Thinking()
        self._envelope = Envelope()
        self._plain: str | None = None  # the text of the newest chunk, where it said nothing else

    def hear(self, lines: list[bytes]) -> list[tuple[str, Any]]:
        """What these lines add; an error among them is in `error`."""
        said: list[tuple[str, Any]] = []
        at, few = 0, LEAST
        while at < len(lines) and not (self.error or self.done):
            text, count = self._envelope.texts(lines[at : at + MOST])
            if count:
                said += self._think.part(text) if text else []
                few = LEAST
            else:
                count, few = few, few * 2
                self._parse(lines[at : at + count], said)
            at += count
        return _joined(said)

    def _parse(self, lines: list[bytes], said: list[tuple[str, Any]]) -> None:
        """Adds what these lines say, whatever it is."""
        try:
            for chunk in loaded(list(self._payloads(lines))):
                self._take(chunk, said)
        except ProviderError as error:
            self.error = error
        except (ValueError, AttributeError, TypeError, LookupError, RecursionError):
            self.error = failure("no_answer")
        else:
            if self._plain is not None:
                self._envelope.remember(lines[-1], self._plain)

    def held_back(self) -> list[tuple[str, Any]]:
        """What was held back because it might have been a mark."""
        return self._think.held_back()

    @property
    def arrived(self) -> bool:
        """Whether the server has ended the answer, and not only the connection."""
        return self.done or self.finish is not None

    @property
    def reason(self) -> str:
        """Why it ended, in the words of Strands."""
        if self.finish in _REASONS:
            return _REASONS[self.finish]
        return "tool_use" if self._calls else "end_turn"

    @property
    def calls(self) -> list[tuple[str, str, str]]:
        """Id, name and arguments (as JSON) of each tool call."""
        return [(call["id"], call["name"], "".join(call["arguments"])) for call in self._calls]

    def _payloads(self, lines: list[bytes]) -> Iterator[bytes]:
        """The JSON of lines as server-sent events have them; comments and other fields left out."""
        for line in (one.removeprefix(BOM_UTF8) for one in lines):
            if line.startswith(b"data:"):
                data = line[5:].strip()
                if data == b"[DONE]":
                    self.done = True
                    return
                if data:
                    yield data
            elif line.startswith((b"error:", b"{")):
                yield b'{"error": %b}' % line[6:].strip() if line.startswith(b"error:") else line

    def _take(self, chunk: dict[str, Any], said: list[tuple[str, Any]]) -> None:
        self._plain = None
        if chunk.get("error") or chunk.get("object") == "error":
            raise told(200, chunk)
        usage, progress = chunk.get("usage"), chunk.get("prompt_progress")
        self.usage = usage or self.usage
        if progress:
            said.append(("progress", (progress.get("processed"), progress.get("total"))))
        for choice in (chunk.get("choices") or ())[:1]:
            delta = choice.get("delta") or choice.get("message") or {}
            finish, text, calls = choice.get("finish_reason"), _words_of(delta), delta.get("tool_calls")
            thought = self._reasoning(delta)
            if thought:
                said.append(("reasoning", thought))
            if text:
                said += self._think.part(text)
            for call in calls or ():
                self._take_piece(call)
            self.finish = str(finish) if finish else self.finish
            if finish == "error":
                raise ProviderError(200, "the server ended its answer with an error")
            if text and not (thought or calls or finish or usage or progress):
                self._plain = text

    def _reasoning(self, delta: dict[str, Any]) -> str:
        for name in ("reasoning_content", "reasoning"):
            if thought := delta.get(name):
                self.thoughts = name
                return str(thought)
        return ""

    def _take_piece(self, piece: dict[str, Any]) -> None:
        """A tool call, or a part of one: pieces belong together by index, and where that misleads, by id."""
        function = piece.get("function") or {}
        index, given = piece.get("index"), piece.get("id")
        known = [call for call in self._calls if index is not None and call["index"] == index]
        call = known[-1] if known else None
        if index is None and self._calls and not given and not function.get("name"):
            call = self._calls[-1]
        if call is None or (given and call["given"] and given != call["given"]):
            made = given or f"call_{uuid.uuid4().hex[:24]}"
            call = {"index": index, "given": given, "id": made, "name": "", "arguments": []}
            self._calls.append(call)
        call["name"] = call["name"] or function.get("name") or ""
        if arguments := function.get("arguments"):
            call["arguments"].append(arguments if isinstance(arguments, str) else json.dumps(arguments))


def _words_of(delta: dict[str, Any]) -> str:
    """What is said; of pieces, as requests have them, those that are text."""
    content = delta.get("content") or ""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part.get("type") == "text")
    return content + ""  # what is no text cannot be read


def _joined(said: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Neighbours of one kind as one; of the progress only the last."""
    joined: list[tuple[str, Any]] = []
    for kind, what in said:
        if joined and joined[-1][0] == kind:
            joined[-1] = (kind, what if kind == "progress" else joined[-1][1] + what)
        else:
            joined.append((kind, what))
    return joined


def told(status: int, body: Any, after: int | None = None) -> ProviderError:
    """The error in this body; a status that it names itself wins over one that means success."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return ProviderError(status, str(error), after)
    code = str(error.get("code", error.get("status")))
    if status == 200 and re.fullmatch("[45][0-9][0-9]", code):
        status = int(code)
    if "model_not_found" in (code, error.get("type")):
        status = 404
    words = (str(error[name]) for name in ("type", "code", "message") if error.get(name) is not None)
    return ProviderError(status, ": ".join(words) or json.dumps(error), after)
