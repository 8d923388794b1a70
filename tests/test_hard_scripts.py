"""Each script of the store in turn: its answer is lost, or held back for longer than a call waits, or all of
Redis freezes when it is sent. What was refused has changed nothing, what was accepted is there once.

`SOAK_SCRIPTS` is how often all of them; by default not every script is spoilt in every way.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import pytest
from redis.asyncio import Redis

from app.clock import CALL_SECONDS, SETTLED_SECONDS
from app.store import store
from app.store.wire.script import Script
from tests.world.at_script import NAME, Trial
from tests.world.fakes.reply import HELD, Reply, ToolCall
from tests.world.rough import Rough, rough_backends
from tests.world.script_cases import CASES, Case
from tests.world.waiting import eventually

ROUNDS = int(os.environ.get("SOAK_SCRIPTS", "0"))
AT_ONCE = 5
STALL = CALL_SECONDS + 0.6
LONGEST = STALL + SETTLED_SECONDS + 12  # and what a busy machine adds
MOST_SPOILT = 4  # tries: two calls
LINE = 2  # the backend with a line before its model, which also names chats
CAREFUL = 'description = "asks"\nprompt = "Ask."\ntools = ["calculate"]\napprove = ["calculate"]\n'
FROZEN = 2.0  # seconds: nearly as long as a call waits, so that some are given up and some are not
# it goes with an ending: who stops waits 1.5 s for that, then settles
SETTLES = {("stops.TAKE", "held back")}
Fault = Literal["none", "lost once", "lost", "held back", "frozen"]
FAULTS: tuple[Fault, ...] = ("lost once", "lost", "held back", "frozen")
QUICK: dict[Fault, list[str]] = {
    "lost once": sorted(CASES)[::3],
    "lost": sorted(CASES),
    "held back": ["scripts.START", "scripts.UNDO", "scripts.END", "queues.CLEAR_THE_WAY"],
    "frozen": ["scripts.START", "scripts.END", "stops.LOOK"],
}


def named() -> dict[str, str]:
    """The SHA of every script that the store registers, by its module and name."""
    parts = [part for part in vars(store).values() if getattr(part, "__name__", "").startswith("app.store.")]
    found = {
        one.sha: f"{part.__name__.rpartition('.')[2]}.{name}"
        for part in parts
        for name, one in vars(part).items()
        if isinstance(one, Script)
    }
    return {found[one.sha]: one.sha for one in store._SCRIPTS}


SHAS = named()


def test_every_script_has_a_case() -> None:
    assert sorted(SHAS) == sorted(CASES)


@pytest.fixture(scope="module")
async def spoilt(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rough]:
    where = tmp_path_factory.mktemp("scripts")
    (where / "careful.toml").write_text(CAREFUL)
    env = {"AGENTS_DIR": str(where), "MEMORY_MAX_CONVERSATIONS": "150"}
    line = {LINE: {"REDIS_PREFIX": "line:", "MODEL_PARALLEL": "1", "TITLES": "model"}}
    async with rough_backends(where, env, backends=2, env_of=line) as rough:
        rough.ollama.default = Reply(tokens=3)
        rough.ollama.on("hold on", HELD)
        rough.ollama.on("Title:", Reply(tokens=[NAME]))
        rough.ollama.on("work it out", Reply(tool=ToolCall("calculate", {"expression": "6*7"}), tokens=2))
        yield rough


class Spoiler:
    """Makes the scripts of some chats go wrong, each in its own way."""

    def __init__(self, rough: Rough) -> None:
        self._armed: dict[tuple[bytes, bytes], list[Any]] = {}
        self._redis = rough.redis
        self._thawing: asyncio.TimerHandle | None = None
        rough.redis_link.meets = self._met

    def arm(self, name: str, word: str, fault: Fault) -> list[Any]:
        """What is met from now on: the last entry counts how often."""
        times = 1 if fault in {"lost once", "frozen"} else MOST_SPOILT
        found = [{"held back": STALL, "frozen": "freeze"}.get(fault, "lose"), times, 0]
        if fault != "none":
            self._armed[SHAS[name].encode(), word.encode()] = found
        return found

    def disarm(self, name: str, word: str) -> None:
        self._armed.pop((SHAS[name].encode(), word.encode()), None)

    def _met(self, data: bytes) -> Literal["lose"] | float:
        for (sha, word), armed in self._armed.items():
            if sha in data and word in data and armed[1] > 0:
                armed[1] -= 1
                armed[2] += 1
                if armed[0] == "freeze":
                    self._freeze()
                    return 0.0
                return "lose" if armed[0] == "lose" else float(armed[0])
        return 0.0

    def _freeze(self) -> None:
        """All of Redis, before this command reaches it."""
        self._redis.freeze()
        if self._thawing:
            self._thawing.cancel()
        self._thawing = asyncio.get_running_loop().call_later(FROZEN, self._redis.thaw)


class Tries:
    """One case after the other, with and without a fault."""

    def __init__(self, rough: Rough, redis: Any) -> None:
        self.rough = rough
        self.redis = redis
        self.spoiler = Spoiler(rough)
        self.well: dict[str, str] = {}  # what is kept in the end when nothing goes wrong
        self._alone = asyncio.Lock()
        self._some = asyncio.Semaphore(AT_ONCE)

    async def all_of(self, fault: Fault, names: Sequence[str], n: int) -> list[str]:
        """What was against the promises."""
        names = [name for name in names if (name, fault) not in SETTLES]
        found = await asyncio.gather(*(self._one(name, fault, n) for name in names))
        return [one for one in found if one]

    async def _one(self, name: str, fault: Fault, n: int) -> str:
        gate = self._alone if CASES[name].alone or fault == "frozen" else self._some
        async with gate:
            try:
                if name not in self.well:
                    await self._try(name, "none", n)
                await self._try(name, fault, n)
            except (AssertionError, TimeoutError) as error:
                return f"{name}, {fault}: {error!r:.3000}"
        return ""

    async def _try(self, name: str, fault: Fault, n: int) -> None:
        case = CASES[name]
        chat = f"{name.lower().replace('.', '-').replace('_', '-')}-{fault.replace(' ', '-')}-{n}x"
        async with self.rough.cluster.client(LINE if case.alone else 1) as client:
            trial = Trial(client, self.redis, chat, "line:" if case.alone else "")
            try:
                await self._act(trial, case, name, fault)
            finally:
                for task in trial.beside:
                    task.cancel()

    async def _act(self, trial: Trial, case: Case, name: str, fault: Fault) -> None:
        if case.before:
            await case.before(trial)
        before = "" if trial.beside else await at_rest(trial)
        word = "" if case.alone else case.word or trial.chat
        met = self.spoiler.arm(name, word, fault)
        if case.also and fault != "none":
            self.spoiler.arm(case.also, word, "lost")
        status = await case.request(trial)
        if fault == "none":
            assert 200 <= status < 300, status
            self.well[name] = await at_rest(trial)
            return
        await eventually(lambda: met[2], within=LONGEST)
        for one in filter(None, (name, case.also)):
            self.spoiler.disarm(one, word)
        if fault in {"held back", "frozen"}:
            await asyncio.sleep(STALL)  # what was given up arrives all the same
        if 200 <= status < 300:
            await comes(trial, self.well[name])
            return
        if not trial.beside:
            await comes(trial, before, *([] if case.kept_when_refused else [self.well[name]]))
        assert await case.request(trial) in {200, 201, 202, 404, 409}, "refused again"
        await comes(trial, self.well[name])


async def comes(trial: Trial, *wanted: str) -> None:
    """The chat comes to rest, as it should be."""
    found = await at_rest(trial)
    until = asyncio.get_running_loop().time() + LONGEST
    while found not in wanted:
        told = "\n".join(difference(found, one) for one in wanted)
        if asyncio.get_running_loop().time() > until:
            raise AssertionError(told)
        await asyncio.sleep(0.1)
        found = await at_rest(trial)


def difference(found: str, wanted: str) -> str:
    """What one says and the other does not."""
    here, there = (set(one.split(", ")) for one in (found, wanted))
    return f"there is {sorted(here - there)}, there should be {sorted(there - here)}"


async def at_rest(trial: Trial) -> str:
    """What is kept when nothing runs, and nothing is left that should not be."""

    async def rests() -> bool:
        return not await trial.redis.hexists(trial.key, "run_id") and not await trial.left()

    try:
        await eventually(rests, within=LONGEST, every=0.05)
    except AssertionError:
        run = await trial.redis.hget(trial.key, "run")
        raise AssertionError(f"not at rest: {run!r} runs, left are {await trial.left()}") from None
    return await trial.kept()


@pytest.fixture(scope="module")
async def tries(spoilt: Rough) -> AsyncIterator[Tries]:
    async with Redis.from_url(spoilt.redis.url) as redis:
        yield Tries(spoilt, redis)


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_script_goes_wrong_nothing_is_lost_nor_done_twice(tries: Tries, fault: Fault) -> None:
    for n in range(max(ROUNDS, 1)):
        found = await tries.all_of(fault, sorted(CASES) if ROUNDS else QUICK[fault], n)
        assert not found, "\n\n".join(found)


async def test_a_start_that_is_being_taken_back_is_settled_by_nobody_else(tries: Tries) -> None:
    """Its answer is lost and its UNDO comes late; meanwhile another message is to take its place."""
    async with tries.rough.cluster.client(1) as client:
        trial = Trial(client, tries.redis, "taken-back-x")
        assert await trial.say(1) == 200
        lost = tries.spoiler.arm("scripts.START", "lost words", "lost")
        late = tries.spoiler.arm("scripts.UNDO", trial.run(2), "held back")
        refused = asyncio.create_task(trial.say(2, "lost words"))
        await eventually(lambda: late[2], within=LONGEST)
        tries.spoiler.disarm("scripts.START", "lost words")
        assert await trial.say(3, on_busy="replace") == 200
        tries.spoiler.disarm("scripts.UNDO", trial.run(2))
        assert (await refused, lost[2]) == (503, 2)
        await at_rest(trial)
        messages = await client.messages(trial.chat)
        assert [(m["run_id"], m.get("outcome")) for m in messages[1::2]] == [
            (trial.run(1), "done"), (trial.run(3), "done"),
        ]  # fmt: skip
        assert "lost words" not in [m["content"] for m in messages]
