"""The files of `TOOLS_DIR` and what they hold: each described in a process of its own, so that one that
is wrong, slow or dies is one line and the others work.

Knows no agent.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loguru import logger

from app.agents.own.caller import Caller, ToolFile
from app.agents.own.tool import OwnTool
from app.agents.own.workshop import ProcessGone
from app.settings import Settings

MOST_BYTES = 256 * 1024
MOST_OF_THEM = 64
LOAD_SECONDS = 20.0
MOST_REASON = 250


@dataclass(slots=True)
class Entry:
    """A file as it was looked at last. `file`: the newest version that could be used."""

    stamp: Any
    file: ToolFile | None = None
    reason: str = ""
    tools: dict[str, OwnTool] = field(default_factory=dict)


class OwnTools:
    """All of them; opened once per backend by `async with`. `taken`: names that are others' already."""

    def __init__(self, settings: Settings, taken: set[str]) -> None:
        self._folder = Path(settings.tools_dir).absolute()
        if not self._folder.is_dir():
            raise ValueError(f"TOOLS_DIR: there is no folder {self._folder}")
        self._taken = taken
        self._caller = Caller(settings)
        self._entries: dict[str, Entry] = {}
        self._tools: dict[str, OwnTool] = {}
        self.looked = False  # whether all files were described once

    async def __aenter__(self) -> "OwnTools":
        await self._caller.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._caller.__aexit__()

    def tool_named(self, name: str) -> OwnTool | None:
        """The tool of this name, if there is one now."""
        return self._tools.get(name)

    @property
    def names(self) -> list[str]:
        return list(self._tools)

    async def reread(self) -> bool:
        """Describes what is new or has changed; False when it should be tried again soon."""
        found = await asyncio.to_thread(_stamps, self._folder)
        for path in [path for path in self._entries if path not in found]:
            self._caller.drop(self._entries.pop(path).file)
        well = True
        for path, stamp in found.items():
            entry = self._entries.setdefault(path, Entry(None))
            if entry.stamp != stamp:
                entry.stamp = stamp
                well = await self._describe(path, entry) and well
        self._name_them()
        self.looked = True
        return well

    async def _describe(self, path: str, entry: Entry) -> bool:
        """False where it was not the file that failed."""
        before = entry.reason
        try:
            async with asyncio.timeout(LOAD_SECONDS) as patience:
                await self._caller.open(patience, LOAD_SECONDS)
                file = ToolFile(path, await asyncio.to_thread(_source, path))
                specs = await self._caller.describe(file)
            self._caller.drop(entry.file)
            entry.file, entry.reason = file, ""
            entry.tools = {spec["name"]: OwnTool(self._caller, file, spec) for spec in specs}
        except TimeoutError:
            entry.reason = f"it did not load in {LOAD_SECONDS:.0f} s"
        except (ProcessGone, ValueError, OSError) as error:
            entry.reason = str(error)[:MOST_REASON]
        if entry.reason and entry.reason != before:
            logger.warning("file=<{}>, reason=<{}> | a file of tools cannot be used", path, entry.reason)
        elif not entry.reason:
            logger.info("file=<{}>, tools=<{}> | tools ready", path, len(entry.tools))
        if not self._caller.works:
            entry.stamp = None
        return self._caller.works

    def _name_them(self) -> None:
        """Who is asked by which name. The first keeps it: ours, then by the names of the files."""
        self._tools = {}
        for path, entry in sorted(self._entries.items()):
            for name, tool in entry.tools.items():
                if name in self._taken or name in self._tools:
                    theirs = "one of ours" if name in self._taken else Path(self._tools[name].path).name
                    entry.reason = entry.reason or f"{name}: there is a tool of this name already ({theirs})"
                    logger.warning("file=<{}>, reason=<{}> | a tool is left out", path, entry.reason)
                else:
                    self._tools[name] = tool

    def state_of_each(self) -> dict[str, dict[str, Any]]:
        """What each file is: `ready`, `kept` (it is wrong, what it was before works on) or `wrong`, with
        the reason.
        """
        return {
            Path(path).name: {
                "state": "ready" if not entry.reason else "kept" if entry.file else "wrong",
                "reason": entry.reason,
                "tools": [name for name, tool in entry.tools.items() if self._tools.get(name) is tool],
            }
            for path, entry in sorted(self._entries.items())
        }


def _stamps(folder: Path) -> dict[str, Any]:
    """What each file with tools is known by: its own state, and that of what they share (`_x.py`)."""
    files = [path for path in sorted(folder.glob("*.py")) if not path.name.startswith((".", "#", "~"))]
    states = {}
    for path in files:
        with contextlib.suppress(OSError):
            state = path.stat()
            states[path] = (state.st_mtime_ns, state.st_size, state.st_ino)
    shared = [state for path, state in states.items() if path.name.startswith("_")]
    own = {path: state for path, state in states.items() if not path.name.startswith("_")}
    return {str(path): (state, *shared) for path, state in list(own.items())[:MOST_OF_THEM]}


def _source(path: str) -> str:
    file = Path(path)
    if not file.is_file() or file.stat().st_size > MOST_BYTES:
        raise ValueError(f"is no file of at most {MOST_BYTES // 1024} KB")
    try:
        return file.read_text(encoding="utf-8-sig")
    except PermissionError:
        raise ValueError("may not be read by the user that the backends run as: chmod a+r") from None
    except ValueError:
        raise ValueError("is not UTF-8") from None
