"""What must hold after every test, whatever was done to the system in between."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio as redis

from tests.world.client import Client, Stream, text_of
from tests.world.cluster import Cluster
from tests.world.fakes.model import FakeModel
from tests.world.sse import Frame
from tests.world.waiting import eventually

QUIET_SECONDS = 20  # a lost backend's runs are settled after at most 15 s


@dataclass
class Witness:
    """What one person saw of one chat: the accepted messages and the streams, by run id."""

    chat_id: str
    accepted: dict[str, str] = field(default_factory=dict)
    streams: dict[str, list[Stream]] = field(default_factory=dict)

    def saw(self, stream: Stream, message: str | None = None) -> None:
        """Remember a stream that was opened, and the message that opened it."""
        if message is not None:
            self.accepted[stream.run_id] = message
        self.streams.setdefault(stream.run_id, []).append(stream)


async def assert_invariants(
    cluster: Cluster,
    witnesses: Iterable[Witness] = (),
    *,
    models: Iterable[FakeModel] = (),
    key: str | None = None,
) -> None:
    """The invariants of every fault test; waits until the system has come to rest."""
    async with cluster.client(key=key) as client:
        await assert_quiet(cluster, client, models)
        for witness in witnesses:
            await assert_chat_holds(client, witness)


async def assert_chat_holds(client: Client, witness: Witness) -> None:
    """One terminal per run, each accepted message stored once, one reply per run, one text for all."""
    messages = await client.messages(witness.chat_id)
    for run_id, message in witness.accepted.items():
        asked = [m for m in messages if m.get("run_id") == run_id and m["role"] == "user"]
        assert [m["content"] for m in asked] == [message], f"run {run_id}: {asked}"
    for run_id, streams in witness.streams.items():
        replies = [m for m in messages if m.get("run_id") == run_id and m["role"] == "assistant"]
        assert len(replies) <= 1, f"run {run_id} has {len(replies)} replies"
        assert_run_holds(run_id, streams, replies[0] if replies else None)
    await assert_replay_holds(client, witness, messages)


def assert_run_holds(run_id: str, streams: list[Stream], reply: dict[str, Any] | None) -> None:
    """All that was seen of a run, by all its readers, agrees with itself and with what is stored."""
    for stream in streams:
        numbers = [frame.number for frame in stream.frames]
        assert numbers == sorted(set(numbers)), f"run {run_id}: events repeated or out of order"
        assert all(frame.id.rpartition(":")[0] == run_id for frame in stream.frames)
        assert stream.terminals in ([], stream.frames[-1:]), f"run {run_id}: {stream.terminals}"
    ended = [stream for stream in streams if stream.terminals]
    assert len({stream.outcome for stream in ended}) <= 1, f"run {run_id} ended in two ways"
    if not ended:
        return
    assert reply is None or reply["outcome"] == ended[0].outcome
    kept = reply["content"] if reply else ""
    seen = seen_text(streams)
    if any(
        stream.backend_lost for stream in ended
    ):  # its own readers may have seen a moment more than its log
        assert seen is None or seen.startswith(kept), (
            f"run {run_id}: {seen[-80:]!r} seen, {kept[-80:]!r} kept"
        )
        return
    assert_one_version(run_id, streams)
    assert seen in (None, kept), f"run {run_id}: {seen and seen[-80:]!r} seen, {kept[-80:]!r} kept"


def seen_text(streams: list[Stream]) -> str | None:
    """The text put together from all readers of one format; None where they have not seen all of it."""
    kind = streams[0].kind
    frames = {frame.number: frame for stream in streams if stream.kind == kind for frame in stream.frames}
    numbers = sorted(frames)
    first = 1 if kind == "json" else 2
    if numbers != list(range(first, first + len(numbers))):
        return None
    return "".join(text_of(frames[number], kind) for number in numbers)


def assert_one_version(run_id: str, streams: list[Stream]) -> None:
    """The same number is the same event for every reader."""
    known: dict[tuple[str, int], Frame] = {}
    for stream in streams:
        for frame in stream.frames:
            assert known.setdefault((stream.kind, frame.number), frame) == frame, (
                f"run {run_id}: two events {frame.id}"
            )


async def assert_replay_holds(client: Client, witness: Witness, messages: list[dict[str, Any]]) -> None:
    """The last run, replayed, has one ending and the text that is stored."""
    replay = await client.replay(witness.chat_id)
    if replay.status == 204:
        return
    assert len(replay.terminals) == 1
    replies = [m for m in messages if m.get("run_id") == replay.run_id and m["role"] == "assistant"]
    assert "".join(m["content"] for m in replies) == replay.text
    numbers = [frame.number for frame in replay.frames]
    assert numbers == list(range(1, len(numbers) + 1)), "a gap in the event log"


async def assert_quiet(cluster: Cluster, client: Client, models: Iterable[FakeModel] = ()) -> None:
    """Nothing runs any more and nothing of a run is left: no lease, no stop key, no connection to a model."""

    async def runs() -> int:
        return int((await client.get("/api/v1/runs"))["count"])

    async def none_running() -> bool:
        return await runs() == 0

    await eventually(none_running, within=QUIET_SECONDS)
    await eventually(lambda: not any(model.open_streams for model in models), within=QUIET_SECONDS)
    await eventually(lambda: no_leftovers(cluster.redis_url), within=QUIET_SECONDS, every=0.1)


async def no_leftovers(url: str) -> bool:
    """No key of a live run is left, and no record of the stop of one."""
    return not await leftovers(url)


async def leftovers(url: str) -> list[str]:
    client: redis.Redis = redis.from_url(url, decode_responses=True)
    async with client:
        return [
            key async for key in client.scan_iter(count=1000) if key.startswith(("stop:", "held:", "lease:"))
        ]
