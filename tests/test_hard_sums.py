"""What the budgets allow at the worst fits the memory that compose gives to each part."""

import os
import re
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from app.agents.own import caller, frames
from app.agents.own.files import OwnTools
from app.api import arrival
from app.chat import handed as handed_over
from app.events import End, Failure, Text, Usage
from app.runs import follow, scale
from app.runs.feed import Feed
from app.runs.reply import MOST_CHARS, MOST_EVENT, Reply
from app.runs.scale import MOST_HELD, Scale, weight
from app.settings import Settings
from app.store import eventlog, files, memory
from tests.test_tools_hostile import GOOD
from tests.world.own_tools import below

ROOT = Path(__file__).parent.parent
MIB = 1024 * 1024
AT_REST = 120 * MIB  # a backend that has answered some
BACKENDS = 3
PICTURE = 3840 * 1024  # FILE_MAX_KB at its most
FORKS = 90 * MIB  # the process that forks, with Strands in it; what it makes shares that
OF_A_TOOL = 8 * MIB  # what a process of a tool has for itself before the tool takes more
HANDED = 6  # a picture in base64, in the request, and on its way out, beside itself
LONGEST_MESSAGE = 4 * MOST_CHARS  # a reply of emoji, as Redis keeps it
CHAT = max(memory.MOST_CHAT_BYTES, 2 * LONGEST_MESSAGE)  # the newest question and reply always stay


def limit(service: str) -> int:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return int(services[service]["deploy"]["resources"]["limits"]["memory"].removesuffix("M")) * MIB


def test_the_worst_that_the_budgets_allow_fits_a_backend() -> None:
    made = 2 * MOST_HELD  # all beyond the most are at their share of it
    followed = (BACKENDS - 1) * made
    kept = follow.MOST_KEPT * LONGEST_MESSAGE + follow.MOST_KEPT_EVENTS * 2 * scale.EVENT_WEIGHT
    read = memory.AT_ONCE * 3 * CHAT // 2  # its lines, the messages, the answer; no two of them whole
    arriving = arrival.BUDGET
    handed = HANDED * handed_over.MOST_HANDED + files.AT_ONCE * 2 * PICTURE
    processes = caller.MOST_READY + caller.MOST_AT_ONCE  # what a tool takes beyond that the kernel ends first
    tools = FORKS + processes * OF_A_TOOL + caller.MOST_AT_ONCE * 2 * frames.MOST_FRAME
    worst = AT_REST + made + followed + kept + read + arriving + handed + tools
    assert worst <= limit("backend1"), f"{worst / MIB:.0f} MB"


async def test_the_processes_of_tools_take_what_the_sum_says(tmp_path: Path) -> None:
    for n in range(3):
        (tmp_path / f"file_{n}.py").write_text(GOOD)
    async with OwnTools(Settings.model_validate({"tools_dir": str(tmp_path)}), set()) as tools:
        await tools.reread()
        found = below(os.getpid())
        forker = next(pid for pid, words in found.items() if "own.server" in words)
        ready = below(forker)
        assert len(ready) == 3
        assert max(private(pid) for pid in ready) <= OF_A_TOOL
        assert share(forker) + sum(share(pid) for pid in ready) <= FORKS + 3 * OF_A_TOOL


def private(pid: int) -> int:
    """Bytes that it shares with nobody."""
    return sum(_rolled(pid)[name] for name in ("Private_Clean", "Private_Dirty"))


def share(pid: int) -> int:
    """Bytes, where what several processes have together counts in parts."""
    return _rolled(pid)["Pss"]


def _rolled(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def test_the_worst_that_is_read_at_once_fits_redis() -> None:
    (data,) = re.findall(r"^maxmemory (\d+)mb", (ROOT / "deploy/redis.conf").read_text(), re.MULTILINE)
    chats = memory.AT_ONCE * CHAT
    entry = (eventlog.BATCH_CHARS + MOST_EVENT) * 12  # as JSON an emoji has twelve letters
    logs = (follow.FILLS + 1) * eventlog.PAGE * entry
    pictures = files.AT_ONCE * 2 * PICTURE  # as they come and as they go
    worst = int(data) * MIB + BACKENDS * (chats + logs + pictures)
    assert worst <= limit("redis"), f"{worst / MIB:.0f} MB"


def replies(places: int) -> list[tuple[Reply, list[Failure]]]:
    together = Scale(places)
    made = []
    for n in range(places):
        floods: list[Failure] = []
        reply = Reply(
            Feed("chat", f"run-{n:05}"),
            Settings.model_validate({}),
            lambda: None,
            floods.append,
            scale=together,
        )
        made.append((reply, floods))
    return made


def test_many_long_replies_at_once_end_before_the_memory_does() -> None:
    """Each far below what one may say; those that are heavier than their share are ended, the others not."""
    made = replies(200)
    (light, spared), *heavy = made
    light.text("hello")
    for _ in range(450):
        for reply, floods in heavy:
            if not floods:
                reply.text("🙂" * 300)
    assert all(floods and floods[0].code == "overloaded" for _, floods in heavy)
    assert not spared
    held = sum(weight(event) for reply, _ in made for event in reply.feed.events)
    assert held <= 2 * MOST_HELD
    for reply, _ in made:
        reply.detach()
    (after, floods), *_ = replies(1)
    after.text("hello")
    assert not floods


def test_what_a_reply_held_is_given_back_when_it_ends() -> None:
    together = Scale(2)
    reply = Reply(
        Feed("chat", "run-00001"), Settings.model_validate({}), lambda: None, lambda _: None, scale=together
    )
    reply.text("hello")
    assert together.held > 0
    reply.detach()
    reply.detach()
    assert together.held == 0


def test_an_entry_of_a_log_is_bounded_by_its_text_too() -> None:
    events = [Text("🙂" * 600) for _ in range(400)]
    taken = eventlog._batch(events)
    assert 0 < len(taken) < 40
    assert list(taken) == events[: len(taken)]
    end = End("done", "end_turn", Usage(0, 0, True), 1)
    assert list(eventlog._batch([Text("a"), end])) == [Text("a"), end]
    assert len(eventlog._batch([Text("a")] * 2000)) == eventlog.BATCH
