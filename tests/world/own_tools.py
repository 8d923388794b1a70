"""A folder of tools of a user's own, some of which behave badly, and the processes that they run in."""

from pathlib import Path
from typing import Any

from tests.world.client import Client

GOOD = '''
import asyncio, os, socket, subprocess, sys, time
from pathlib import Path
from strands import tool
from _shared import GREETING

CALLS = []


@tool
def greet(name: str, times: int = 1) -> str:
    """Greets somebody.

    Args:
        name: Whom.
        times: How often.
    """
    CALLS.append(name)
    return " ".join([f"{GREETING} {name}"] * times) + f" ({len(CALLS)})"


@tool
async def later(text: str) -> dict:
    """Answers after a moment."""
    await asyncio.sleep(0.01)
    return {"status": "success", "content": [{"text": text}, {"json": {"n": 1}}]}


@tool
def wait(mark: str) -> str:
    """Works for ever, and has others work too."""
    inner = "import time, sys; time.sleep(1000)"
    for session in (False, True):
        subprocess.Popen([sys.executable, "-c", inner, mark], start_new_session=session)
    subprocess.Popen(["sh", "-c", f"{sys.executable} -c '{inner}' {mark} & exit 0"]).wait()
    Path(mark).write_text(str(os.getpid()))
    while True:
        pass


@tool
def refuse() -> str:
    """Says what was wrong."""
    raise ValueError("there is no such city")


@tool
def fail() -> str:
    """Breaks."""
    print("2026-01-01 00:00:00 | FORGED")
    sys.stdout.write("\\x1b[2Jclear\\r\\n")
    raise KeyError("canary-of-the-tool")


@tool
def die() -> str:
    """Ends its process."""
    os._exit(7)


@tool
def leave() -> str:
    """Asks Python to end."""
    sys.exit(0)


@tool
def eat() -> str:
    """Takes more memory than there is."""
    return str(len(bytearray(4_000_000_000)))


@tool
def flood() -> str:
    """Answers and prints without end."""
    for _ in range(200):
        print("x" * 100_000)
    return "y" * 3_000_000


@tool
def environment() -> str:
    """Tells what it is given."""
    return " ".join(f"{name}={value}" for name, value in os.environ.items())


@tool
def peep() -> str:
    """Looks for secrets in every process that there is, also by a program of its own."""
    script = "for file in /proc/[0-9]*/environ; do cat $file; done; cat /proc/self/environ"
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True).stdout


@tool
def reach(port: int) -> str:
    """Tries every way to the network."""
    tried = []
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK):
        try:
            line = socket.socket(family)
            if family == socket.AF_INET:
                line.connect(("127.0.0.1", port))
            tried.append("open")
        except PermissionError:
            tried.append("shut")
        except OSError:  # there is no such family here
            tried.append("open")
    script = f"import socket; socket.create_connection(('127.0.0.1', {port}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    tried.append("open" if done.returncode == 0 else "shut")
    return " ".join(tried)
'''
TOOL = '''
from strands import tool


@tool
def {name}(x: str) -> str:
    """Another one."""
    return x
'''
BAD = {
    "broken": "def x(:\n",
    "missing": "import no_such_package\n",
    "ends": "import os\nos._exit(1)\n",
    "stops": "raise SystemExit(3)\n",
    "clash": TOOL.format(name="calculate"),
    "twice": TOOL.format(name="greet"),
    "latin": 'x = "ä"\n',
}
NAMES = (
    "greet",
    "later",
    "wait",
    "refuse",
    "fail",
    "die",
    "leave",
    "eat",
    "flood",
    "environment",
    "peep",
    "reach",
)


def fill(folder: Path, bad: bool = False) -> Path:
    """Writes these files into the folder."""
    folder.mkdir(exist_ok=True)
    (folder / "_shared.py").write_text('GREETING = "Hello"\n')
    (folder / "good.py").write_text(GOOD)
    for name, source in BAD.items() if bad else ():
        (folder / f"{name}.py").write_bytes(source.encode("latin-1"))
    return folder


def agent(*tools: str) -> str:
    """The file of an agent that has these tools."""
    return f'description = "d"\nprompt = "p"\ntools = [{", ".join(repr(tool) for tool in tools)}]\n'


async def tools_of(client: Client, name: str) -> list[str]:
    """The tools that an agent has now."""
    listed = (await client.get("/api/v1/agents"))["agents"]
    return next((list(one["tools"]) for one in listed if one["name"] == name), [])


async def told(client: Client, part: str) -> Any:
    """What the one backend says of this in its status."""
    (backend,) = (await client.get("/api/v1/status"))["backends"]
    return backend.get(part)


def below(pid: int) -> dict[int, str]:
    """The processes that this one and those below it have started, with what they were called with."""
    parents, found = _parents(), dict[int, str]()
    near = [pid]
    while near:
        near = [child for child, parent in parents.items() if parent in near]
        found |= {one: _words_of(one) for one in near}
    return found


def marked(mark: str) -> list[int]:
    """The processes anywhere that were started with this word."""
    return [pid for pid in _parents() if mark in _words_of(pid)]


def alive(pid: int) -> bool:
    """Whether this process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _parents() -> dict[int, int]:
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if state != "Z":
            found[int(folder.name)] = int(parent)
    return found


def _words_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
