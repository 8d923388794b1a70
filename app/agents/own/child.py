"""The life of one process of a tool: loads one file, tells what tools are in it, waits, carries out one
call, ends.

The only place where a user's code runs. Knows neither the backend nor other files.
"""

import asyncio
import contextlib
import json
import os
import socket
import sys
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strands.tools.decorator import DecoratedFunctionTool

from app.agents.own import shut
from app.agents.own.frames import packed, receive
from app.agents.plain import plain_words

MOST_TOOLS = 32  # of one file
MOST_SPEC = 16 * 1024  # characters of one tool's description
MOST_OUTPUT = 20_000  # characters of a result
MOST_REASON = 200
MIB = 1024 * 1024


def be_worker(line: int, out: int, memory_mb: int) -> None:
    """All of it. `line`, `out`: descriptors of the line to the backend, and of where prints go."""
    _settle_in(out, memory_mb)
    backend = socket.socket(fileno=line)
    if not (file := receive(backend)):
        return
    with contextlib.suppress(OSError):
        os.chdir(Path(file["path"]).parent)
    try:
        tools = {tool.tool_name: tool for tool in _loaded(file["path"], file["source"])}
        backend.sendall(packed({"tools": [_as_told(tool) for tool in tools.values()]}))
    except BaseException as error:  # noqa: BLE001  # a user's code may do anything
        backend.sendall(packed({"mistake": _what_is_wrong(error, file["path"])}))
        return
    if asked := receive(backend):
        well, said = _called(tools[asked["tool"]], asked["input"])
        _flush()
        backend.sendall(packed({"well": well, "said": said}))


def _settle_in(out: int, memory_mb: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for theirs, ours in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(theirs, ours)
    os.close(nothing)
    os.close(out)
    sys.stdout = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__
    shut.in_group()
    shut.in_bounds(memory_mb * MIB)


def _loaded(path: str, source: str) -> Iterator[DecoratedFunctionTool[Any, Any]]:
    """The tools that are made in this file, not those that it takes from elsewhere."""
    module = types.ModuleType(f"tools_{Path(path).stem}")
    module.__file__ = path
    sys.modules[module.__name__] = module
    sys.path.append(str(Path(path).parent))  # for what it shares with its neighbours
    exec(compile(source, path, "exec"), vars(module))  # noqa: S102  # that is what this process is for
    for value in list(vars(module).values()):
        if isinstance(value, DecoratedFunctionTool) and value.__module__ == module.__name__:
            yield value


def _as_told(tool: DecoratedFunctionTool[Any, Any]) -> dict[str, Any]:
    spec = tool.tool_spec
    if len(json.dumps(spec)) > MOST_SPEC:
        raise ValueError(f"{tool.tool_name}: its description is longer than {MOST_SPEC} characters")
    return dict(spec)


def _called(tool: DecoratedFunctionTool[Any, Any], given: dict[str, Any]) -> tuple[bool, str]:
    """Whether it went well, and what the model is told."""
    try:
        return asyncio.run(_use(tool, given))
    except MemoryError:
        return False, "the tool needs more memory than it may have"
    except BaseException as error:  # noqa: BLE001  # a user's code may do anything
        return False, _words(error)


async def _use(tool: DecoratedFunctionTool[Any, Any], given: dict[str, Any]) -> tuple[bool, str]:
    use: Any = {"toolUseId": "use", "name": tool.tool_name, "input": given}
    result: Any = {}
    async for event in tool.stream(use, {"agent": None}):
        if error := getattr(event, "exception", None):
            return False, _words(error)
        result = getattr(event, "tool_result", result)
    text = "\n".join(_part_text(part) for part in result.get("content", []))
    return result.get("status") != "error", _bounded_text(text)


def _words(error: BaseException) -> str:
    """What the model is told; the operator's log has the rest, unless the tool meant it so."""
    if isinstance(error, MemoryError):
        return "the tool needs more memory than it may have"
    if isinstance(error, ValueError | TimeoutError):
        return f"Error: {plain_words(error)}"
    with contextlib.suppress(OSError, ValueError):  # the tool has closed it
        traceback.print_exception(error, limit=-3)
    return "Error: the tool failed"


def _part_text(part: dict[str, Any]) -> str:
    if isinstance(text := part.get("text"), str):
        return text
    return json.dumps(part["json"], default=str) if "json" in part else f"({next(iter(part), 'nothing')})"


def _bounded_text(text: str) -> str:
    return text if len(text) <= MOST_OUTPUT else text[:MOST_OUTPUT] + "… (cut)"


def _what_is_wrong(error: BaseException, path: str) -> str:
    """What is wrong with a file, in one line, with the number of the line where it is."""
    numbers = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    number = error.lineno if isinstance(error, SyntaxError) else next(reversed(numbers), None)
    words = error.msg if isinstance(error, SyntaxError) else str(error)
    told = f"{type(error).__name__}: {words}" if words else type(error).__name__
    line = f"line {number}: {told}" if number else told
    return " ".join("".join(c if c.isprintable() else " " for c in line).split())[:MOST_REASON]


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the tool has closed it
            stream.flush()
