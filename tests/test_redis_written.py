"""Redis killed while it syncs its file: it has answered by then what it has not written.

The disk is a real one whose syncs are made slow (`strace`, which delays the system call).
"""

import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from signal import SIGKILL

import pytest

from app.settings import Settings
from app.store.keys import Chat
from app.store.store import Store
from app.store.wire.script import command
from app.store.written import syncing
from tests.conftest import ollama_env
from tests.world.client import Client, Stream
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply
from tests.world.redis_server import PrivateRedis, connect
from tests.world.redis_server import command as carry_out
from tests.world.waiting import eventually

SYNC_SECONDS = 1.5
SLOW = ["strace", "-D", "-f", "-qq", "-e", "trace=fdatasync", "-o", "/dev/null"]
SLOW += ["-e", f"inject=fdatasync:delay_enter={SYNC_SECONDS * 1_000_000:.0f}"]


def why_not() -> str:
    """Why a program cannot be traced here, or nothing."""
    if not shutil.which("strace"):
        return "no strace: sudo apt install -y strace"
    done = subprocess.run([*SLOW, "true"], capture_output=True, text=True, check=False)
    return done.stderr


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[PrivateRedis]:
    """A Redis with the product's way to keep its file, on a disk whose syncs take their time."""
    redis = PrivateRedis(tmp_path, "--appendonly", "yes", "--appendfsync", "everysec")
    redis.program.command[:0] = SLOW
    async with redis:
        yield redis


async def in_a_sync(redis: PrivateRedis) -> None:
    """Returns while Redis syncs: what it is asked now it does not write at once."""
    async with connect(redis.url) as client:

        async def begun() -> bool:
            await client.set("noise", "x")
            return bool((await client.info("persistence"))["aof_pending_bio_fsync"])

        await eventually(begun, within=20)


async def read_by_asker(one: Client, _: Client, chat_id: str) -> Stream:
    return await one.ask(chat_id, "hello")


async def read_by_follower(one: Client, two: Client, chat_id: str) -> Stream:
    async with one.chat(chat_id, "hello") as stream:
        await stream.until_text("word1 ")
        async with two.attach(chat_id) as follower:
            return await follower.rest()


@pytest.mark.parametrize("read", [read_by_asker, read_by_follower])
@pytest.mark.timeout(180)
async def test_a_reply_read_to_its_end_outlives_a_redis_that_is_killed_in_a_sync(
    slow: PrivateRedis, tmp_path: Path, ollama: FakeOllama, read: Callable[..., Awaitable[Stream]]
) -> None:
    ollama.default = Reply(20, pace=0.01)
    async with (
        Cluster(tmp_path, slow.url, env=ollama_env(ollama), backends=2) as cluster,
        cluster.client(1) as one,
        cluster.client(2) as two,
    ):
        for chat_id in ("c1", "c2"):
            await in_a_sync(slow)
            stream = await read(one, two, chat_id)
            await slow.restart(SIGKILL)
            await cluster.ready()
            assert stream.outcome == "done"
            stored = [(one["role"], one["content"]) for one in await two.messages(chat_id)]
            assert stored[1:] == [("assistant", stream.text)]


async def test_nobody_waits_where_redis_does_not_tell(slow: PrivateRedis) -> None:
    chat = Chat("", "c1")
    async with Store(Settings.model_validate({"redis_url": slow.url})) as store, connect(slow.url) as admin:
        await in_a_sync(slow)
        late = [command("HSET", "noise:2", "x", "y"), syncing(chat)]
        assert (await store.redis.do_all(late))[1] == 1
        await carry_out(admin, "ACL", "SETUSER", "default", "-info")
        assert (await store.redis.do_all(late))[1] == 0
        await carry_out(admin, "ACL", "SETUSER", "default", "+info")
        await carry_out(admin, "CONFIG", "SET", "appendonly", "no")
        assert (await store.redis.do_all(late))[1] == 0
