"""Requests that nobody should send, made from a seed, and what is wrong with an answer to one."""

import json
import random
from dataclasses import dataclass

CANARY = "xqzvcanary"
PATHS = (
    "/api/v1/chat/{id}",
    "/api/v1/chat/{id}/events",
    "/api/v1/chat/{id}/queue/{id}",
    "/api/v1/chat/{id}/export",
    "/api/v1/chats",
    "/api/v1/stop/{id}",
    "/api/v1/stop/bulk",
    "/api/v1/runs",
    "/chat",
    "/{id}",
    "/api/{id}/{id}",
)
METHODS = ("GET", "POST", "PATCH", "DELETE", "PUT", "OPTIONS", "HEAD")
PARAMETERS = ("wait", "format", "limit", "offset", "after", "q", "lastEventId")
FIELDS = ("message", "agent", "run_id", "on_busy", "replaces", "chat_ids", "title", "stream", "seen")
PLAIN = (
    "",
    "0",
    "-1",
    "1e9",
    "nan",
    "null",
    "[]",
    "%00",
    "%ff",
    "..%2f",
    "a" * 300,
    "%F0%9F%99%82",
    ";",
    "'",
)
VALUES: tuple[object, ...] = (
    None,
    True,
    -1,
    10**30,
    1.5,
    "",
    " ",
    "\x00",
    "🙂" * 50,
    "a" * 9000,
    [],
    {},
    [[[[]]]],
    {"a": {}},
)
RAW = (b"{", b"\xff\xfe", b'{"message": NaN}', b'{"message": "\\ud800"}', b"[" * 5000, b"", b"null", b'"x"')
TYPES = ("application/json", "text/plain", "application/json; charset=utf-16", "multipart/form-data", "")


@dataclass(frozen=True)
class Bad:
    """One request as it goes over the wire; `head` when its answer has no body."""

    data: bytes
    method: str


class BadRequests:
    """An endless row of them. None can start a reply: no body has a message that is well."""

    def __init__(self, seed: str) -> None:
        self._chance = random.Random(seed)

    def next(self) -> Bad:
        chance = self._chance
        method = chance.choice(METHODS)
        body = self._body()
        lines = [
            f"{method} {self._target()} HTTP/1.1",
            "Host: localhost",
            f"Content-Length: {len(body)}",
            f"Content-Type: {chance.choice(TYPES)}",
        ]
        if chance.random() < 0.3:
            lines.append(f"Last-Event-ID: {CANARY}{chance.choice(PLAIN)}")
        if chance.random() < 0.2:
            lines.append(f"X-Request-ID: {chance.choice(PLAIN)}{'!' * chance.randrange(3)}")
        if chance.random() < 0.1:
            lines.append(f"Origin: http://{CANARY}.test")
        if chance.random() < 0.1:
            lines.append(f"Content-Encoding: {chance.choice(('gzip', 'br', CANARY))}")
        return Bad("\r\n".join([*lines, "", ""]).encode() + body, method)

    def _target(self) -> str:
        chance = self._chance
        path = chance.choice(PATHS)
        while "{id}" in path:
            path = path.replace("{id}", chance.choice((CANARY, *PLAIN)), 1)
        if chance.random() < 0.5:
            path += f"?{chance.choice(PARAMETERS)}={CANARY}{chance.choice(PLAIN)}"
        return path

    def _body(self) -> bytes:
        chance = self._chance
        if chance.random() < 0.3:
            return chance.choice(RAW)
        told = {name: chance.choice((*VALUES, CANARY)) for name in chance.sample(FIELDS, chance.randrange(5))}
        told["message"] = chance.choice(
            [value for value in VALUES if not value or not isinstance(value, str)]
        )
        return json.dumps(told).encode()


def wrong_with(bad: Bad, status: int, headers: dict[str, str], body: bytes) -> str:
    """What is against the contract in this answer; empty when it is all right."""
    if status >= 500:
        return f"status {status}"
    if status < 400:
        return ""  # some of them can be taken for something
    if CANARY.encode() in body:
        return "an echo"
    if headers.get("content-type", "").split(";")[0] != "application/problem+json":
        return f"{status} as {headers.get('content-type')}"
    return ""
