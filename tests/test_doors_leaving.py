"""Hanging up and cancelling at the doors of others is a stop in every phase: the model's socket is closed."""

import itertools
import os
import statistics
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ollama_env
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.doors import DOORS, asked, frames, run_of
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, Reply, ToolCall
from tests.world.invariants import assert_invariants
from tests.world.waiting import eventually

LEAVING = [
    "completions, streamed", "completions, whole", "responses, streamed", "responses, whole", "ag-ui",
    "older, streamed", "older, whole",
]  # fmt: skip
CANCELLED = ["responses, background", "responses, streamed", "responses, whole"]
SUM = ToolCall("calculate", {"expression": "6*7"})


@dataclass(frozen=True)
class Phase:
    """What the model does, at which agent, and how one sees from outside that a run is in it."""

    reply: Reply
    agent: str = "general"
    in_it: str = "asked"  # of the model: `asked`, `said`, `in a tool`; of a person: `waiting`


PHASES = {
    "before the headers": Phase(Reply(headers_delay=600)),
    "before the first token": Phase(Reply(first_delay=600)),
    "between tokens": Phase(FLOWING, in_it="said"),
    "in a stalled model": Phase(HELD, in_it="said"),
    "in a tool": Phase(Reply(tool=ToolCall("slow", {"seconds": 600})), "sleeper", "in a tool"),
    "while a person is asked": Phase(Reply(tool=SUM), "careful", "waiting"),
}


@pytest.fixture(scope="module")
async def the_doors(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Cluster]:
    where: Path = tmp_path_factory.mktemp("leaving")
    (where / "sleeper.toml").write_text('description = "waits"\nprompt = "Wait."\ntools = ["slow"]\n')
    (where / "careful.toml").write_text(
        'description = "asks"\nprompt = "Ask."\ntools = ["calculate"]\napprove = true\n'
    )
    env = {
        **ollama_env(the_ollama), "AGENTS_DIR": str(where), "MODEL_PARALLEL": "1",
        "REDIS_PREFIX": "leaving:",
    }  # fmt: skip
    module = "tests.world.with_slow_tool"
    async with Cluster(where, redis_url, env=env, backends=2, module=module) as cluster:
        yield cluster


@pytest.fixture
async def doors(the_doors: Cluster, ollama: FakeOllama) -> AsyncIterator[Cluster]:
    yield the_doors
    await assert_invariants(the_doors, models=[ollama])


def mark(chat_id: str) -> str:
    """The question asked in this chat; no other one begins with it."""
    return f"{chat_id}."


async def _in_phase(client: Client, ollama: FakeOllama, chat_id: str, phase: Phase) -> None:
    """Waits until the run of this chat is in this phase."""
    await eventually(lambda: ollama.of(mark(chat_id)), within=60)

    async def there() -> bool:
        info = await client.chat_info(chat_id)
        match phase.in_it:
            case "waiting":
                return bool(info["run"] and info["run"].get("asked"))
            case "in a tool":
                events = await client.http.get(f"/v1/responses/resp_{info['run']['run_id']}")
                return events.status_code == 200 and ollama.of(mark(chat_id))[0].finished_at is not None
            case "said":
                return ollama.of(mark(chat_id))[0].tokens_sent >= 3
        return True

    await eventually(there, within=60)


def _closed(ollama: FakeOllama, chat_id: str) -> bool:
    return all(not exchange.is_open for exchange in ollama.of(mark(chat_id)))


async def _stopped(client: Client, chat_id: str) -> bool:
    messages = await client.messages(chat_id)
    return [message.get("outcome") for message in messages][1:] == ["stopped"]


# at AG-UI the question ends the answer: see the next test
WHERE = [one for one in itertools.product(LEAVING, PHASES) if one != ("ag-ui", "while a person is asked")]


@pytest.mark.parametrize(("name", "phase"), WHERE)
async def test_hanging_up_is_a_stop_in_every_phase(
    doors: Cluster, ollama: FakeOllama, chat_id: str, name: str, phase: str
) -> None:
    one = PHASES[phase]
    ollama.on(mark(chat_id), one.reply)
    async with doors.client(1) as caller, doors.client(2) as other:
        async with asked(caller, name, chat_id, mark(chat_id), agent=one.agent) as run:
            await _in_phase(other, ollama, chat_id, one)
            await run.hang_up()
            await eventually(lambda: _closed(ollama, chat_id), within=30)
        await eventually(lambda: _stopped(other, chat_id), within=30)
    assert len(ollama.of(mark(chat_id))) == 1
    assert one.in_it in ("in a tool", "waiting") or ollama.of(mark(chat_id))[0].left_at


async def test_who_leaves_ag_ui_where_a_person_is_asked_is_expected_back(
    doors: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    ollama.on(mark(chat_id), PHASES["while a person is asked"].reply)
    async with doors.client(1) as caller, doors.client(2) as other:
        async with asked(caller, "ag-ui", chat_id, mark(chat_id), agent="careful") as run:
            assert await run.rest() == "asked"
        assert (await other.chat_info(chat_id))["run"]["asked"]
        assert (await other.stop(chat_id, wait=5000))["result"] == "stopped"


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", CANCELLED)
async def test_a_response_is_cancelled_in_every_phase(
    doors: Cluster, ollama: FakeOllama, chat_id: str, name: str, phase: str
) -> None:
    one = PHASES[phase]
    ollama.on(mark(chat_id), one.reply)
    async with (
        doors.client(1) as caller,
        doors.client(2) as other,
        asked(caller, name, chat_id, mark(chat_id), agent=one.agent) as run,
    ):
        await _in_phase(other, ollama, chat_id, one)
        url = f"/v1/responses/resp_{await run_of(other, chat_id)}/cancel"
        assert (await other.http.post(url)).json()["status"] == "cancelled"
        await eventually(lambda: _closed(ollama, chat_id), within=30)
        assert await run.rest() in ("stopped", "begun")


@pytest.mark.parametrize("name", [*LEAVING, "responses, background"])
async def test_who_waits_in_the_line_before_the_model_leaves_it_when_he_hangs_up_or_cancels(
    doors: Cluster, ollama: FakeOllama, new_chat: Callable[[], str], name: str
) -> None:
    first, second = new_chat(), new_chat()
    ollama.on(mark(first), HELD)
    async with doors.client(1) as caller, doors.client(2) as other:
        async with other.chat(first, mark(first)) as stream, asked(caller, name, second, mark(second)) as run:
            await eventually(lambda: ollama.of(mark(first)), within=60)

            async def waiting(count: int) -> bool:
                return bool((await other.get("/api/v1/status"))["line"]["waiting"] == count)

            await eventually(lambda: waiting(1), within=60)
            run_id = await run_of(other, second)
            await _is_told_to_wait(other, run_id)
            if DOORS[name].leaving_ends:
                await run.hang_up()
            else:
                answer = await other.http.post(f"/v1/responses/resp_{run_id}/cancel")
                assert answer.json()["status"] == "cancelled"
            await eventually(lambda: waiting(0), within=30)
            await other.stop(first, wait=5000)
            await stream.rest()
        assert not ollama.of(mark(second))


async def _is_told_to_wait(client: Client, run_id: str) -> None:
    """Who reads it as a response is told so, in order and again at each reading."""

    async def queued() -> bool:
        told: dict[str, Any] = (await client.http.get(f"/v1/responses/resp_{run_id}")).json()
        return bool(told["status"] == "queued")

    await eventually(queued, within=60)


async def test_a_response_that_waits_is_told_as_queued_until_it_goes_on(
    doors: Cluster, ollama: FakeOllama, new_chat: Callable[[], str]
) -> None:
    first, second = new_chat(), new_chat()
    ollama.on(mark(first), HELD)
    async with doors.client(1) as caller, doors.client(2) as other:
        async with (
            other.chat(first, mark(first)) as stream,
            asked(caller, "responses, streamed", second, mark(second)) as run,
        ):
            await eventually(lambda: ollama.of(mark(first)), within=60)
            await run.until(b"event: response.queued\n")
            await _is_told_to_wait(other, await run_of(other, second))
            await other.stop(first, wait=5000)
            await stream.rest()
            assert await run.rest() == "done"
        told = [(frame.event.removeprefix("response."), frame.json) for frame in frames(run.raw)]
        assert [kind for kind, _ in told][:5] == [
            "created", "in_progress", "queued", "in_progress", "output_item.added",
        ]  # fmt: skip
        assert [event["response"]["status"] for _, event in told[:4]] == [
            "in_progress", "in_progress", "queued", "in_progress",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("completions, streamed", b'"reasoning_content": "\\nWaiting for the model, 1 ahead.\\n"'),
        ("ag-ui", b'"activityType": "QUEUE", "content": {"position": 1, "ahead": 1, '),
        ("native, json", b'event: queue\ndata: {"position": 1, "ahead": 1, '),
    ],
)
async def test_who_waits_is_told_so(
    doors: Cluster, ollama: FakeOllama, new_chat: Callable[[], str], name: str, told: bytes
) -> None:
    first, second = new_chat(), new_chat()
    ollama.on(mark(first), HELD)
    async with (
        doors.client(1) as caller,
        doors.client(2) as other,
        other.chat(first, mark(first)) as stream,
    ):
        await eventually(lambda: ollama.of(mark(first)), within=60)
        async with asked(caller, name, second, mark(second)) as run:
            await run.until(told)
            await other.stop(first, wait=5000)
            await stream.rest()
            assert await run.rest() in ("done", "stopped")
            assert b"word4" in run.raw


DOORS_OF_A_STREAM = ["completions, streamed", "responses, streamed", "ag-ui"]


@pytest.mark.timeout(1200)
async def test_the_time_from_leaving_to_the_closed_socket_of_the_model(
    doors: Cluster, ollama: FakeOllama, new_chat: Callable[[], str]
) -> None:
    """Prints p50 and p99 with SOAK_LEAVING=200; the bound is that of a busy machine."""
    took: dict[str, list[float]] = {}
    many = int(os.environ.get("SOAK_LEAVING", "6"))
    silent = [name for name in PHASES if PHASES[name].in_it in ("asked", "said")]
    for phase, name in itertools.islice(itertools.cycle(itertools.product(silent, DOORS_OF_A_STREAM)), many):
        chat_id = new_chat()
        ollama.on(mark(chat_id), PHASES[phase].reply)
        async with doors.client(1) as caller, asked(caller, name, chat_id, mark(chat_id)) as run:
            await _in_phase(caller, ollama, chat_id, PHASES[phase])
            left = time.monotonic()
            await run.hang_up()
            await eventually(partial(_closed, ollama, chat_id), within=30, every=0.001)
            closed = ollama.of(mark(chat_id))[0].left_at
            assert closed
            took.setdefault(name, []).append((closed - left) * 1000)
    for name, times in took.items():
        if len(times) > 1:
            quantiles = statistics.quantiles(times, n=100, method="inclusive")
            print(f"{name}: {len(times)} times, p50 {quantiles[49]:.1f} ms, p99 {quantiles[98]:.1f} ms")
