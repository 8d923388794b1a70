"""An MCP server over stdio, by hand: what it does with a call depends on the tool.

`python mcp_server.py LOG`: notes what it sees in LOG.
"""

import json
import sys
from pathlib import Path
from typing import Any

NAMES = [
    "echo",
    "slow",
    "die",
    "flood",
    "garbage",
    "long",
    "environment",
    "exactly",
    *(f"{'long-' * 20}{n}" for n in "ab"),
    "grow",
]
PAGE = 4  # tools listed at once
LOG = Path(sys.argv[1])


def note(line: str) -> None:
    with LOG.open("a") as log:
        log.write(line + "\n")


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def said(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "isError": False}


def called(asked: Any, name: str, given: dict[str, Any]) -> None:
    import os

    note(f"call {name}")
    match name:
        case "echo":
            send({"id": asked, "result": said(str(given.get("text")))})
        case "exactly":
            send({"id": asked, "result": given})
        case "die":
            os._exit(1)
        case "flood":
            for _ in range(100):
                sys.stdout.write("x" * 1024 * 1024)
        case "garbage":
            sys.stdout.write("this is no JSON\n")
            send({"id": asked, "result": {"content": "no list"}})
        case "long":
            send({"id": asked, "result": said("y" * 100_000)})
        case "grow":
            NAMES.append("grown")
            send({"method": "notifications/tools/list_changed"})
            send({"id": asked, "result": said("grown")})
        case "environment":
            send({"id": asked, "result": said(" ".join(sorted(os.environ)))})


def page(first: int) -> dict[str, Any]:
    names = NAMES[first : first + PAGE]
    tools = [{"name": name, "description": name, "inputSchema": {"type": "object"}} for name in names]
    more = {"nextCursor": str(first + PAGE)} if first + PAGE < len(NAMES) else {}
    return {"tools": tools, **more}


def main() -> None:
    note("began")
    for line in sys.stdin:
        message = json.loads(line)
        asked, params = message.get("id"), message.get("params") or {}
        match message.get("method"):
            case "initialize":
                info = {"name": "fake", "version": "1"}
                version = params["protocolVersion"]
                told = {
                    "protocolVersion": version,
                    "capabilities": {"tools": {"listChanged": True}},
                    "serverInfo": info,
                }
                send({"id": asked, "result": told})
            case "tools/list":
                send({"id": asked, "result": page(int(params.get("cursor") or 0))})
            case "tools/call":
                called(asked, params["name"], params.get("arguments") or {})
            case "notifications/cancelled":
                note("cancelled")
            case _ if asked is not None:
                send({"id": asked, "error": {"code": -32601, "message": "no such method"}})
    note("ended")


if __name__ == "__main__":
    main()
