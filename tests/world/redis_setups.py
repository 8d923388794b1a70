"""Redis beyond one plain server: with TLS, behind Sentinels, as a Cluster. Real servers on free ports of this
machine.

The backends log in as the user of `docs/redis.md`; the tests are the default user, who may do everything.
"""

import asyncio
import contextlib
import re
import subprocess
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

import redis.asyncio as redis

from tests.world.processes import ROOT, Program, free_port
from tests.world.redis_server import PrivateRedis, answers, connect, server_binary
from tests.world.waiting import eventually

PASSWORD = "p@ss/word:1"
LOGIN = "chat:p%40ss%2Fword%3A1"
SERVICE = "mymaster"
SLOTS = 16384
QUICK_REPLICATION = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")


def user() -> list[str]:
    """The ACL user of `docs/redis.md` with our password, as arguments of a server."""
    rule = re.search(r"^user (chat on .*)$", (ROOT / "docs" / "redis.md").read_text(), re.MULTILINE)
    assert rule
    return ["--user", *rule[1].replace(">secret", f">{PASSWORD}").split()]


@dataclass
class Setup:
    """Servers, and the URL by which backends reach them."""

    url: str
    servers: Sequence[PrivateRedis]
    sentinels: Sequence[Program] = field(default=())

    async def primaries(self) -> list[PrivateRedis]:
        """The servers that take writes now."""
        return [
            server for server in self.servers if server.program.running and await role(server) == "master"
        ]

    async def denied(self) -> list[str]:
        """What the backends wanted and were not allowed."""
        return [str(entry["object"]) for server in await self.primaries() for entry in await acl_log(server)]


class SecureRedis(PrivateRedis):
    """Speaks TLS only, with a certificate for 127.0.0.1 from a CA of its own."""

    def __init__(self, where: Path, *args: str) -> None:
        self.ca = where / "ca.crt"
        certify(where)
        tls = ("--tls-cert-file", str(where / "server.crt"), "--tls-key-file", str(where / "server.key"))
        super().__init__(where, *tls, "--tls-ca-cert-file", str(self.ca), "--tls-auth-clients", "no", *args)
        self.program.command += ["--port", "0", "--tls-port", str(self.port)]

    @property
    def url(self) -> str:
        return f"rediss://127.0.0.1:{self.port}/0?ssl_ca_certs={self.ca}"


@contextlib.asynccontextmanager
async def secure(where: Path) -> AsyncIterator[Setup]:
    """One server with TLS."""
    async with SecureRedis(where, *user()) as server:
        yield Setup(server.url.replace("//", f"//{LOGIN}@", 1), [server])


@contextlib.asynccontextmanager
async def guarded(where: Path) -> AsyncIterator[Setup]:
    """A primary and a replica behind three Sentinels."""
    primary = PrivateRedis(where, *user(), *QUICK_REPLICATION, name="first")
    follow = ("--replicaof", "127.0.0.1", str(primary.port))
    replica = PrivateRedis(where, *user(), *QUICK_REPLICATION, *follow, name="second")
    sentinels = {free_port(): f"sentinel-{n}" for n in range(3)}
    programs = [sentinel(where / name, port, primary.port) for port, name in sentinels.items()]
    async with primary, replica:
        await eventually(partial(in_step, replica), within=20)
        try:
            for program in programs:
                await program.start()
            for port in sentinels:
                await eventually(partial(knows_all, port), within=30, every=0.05)
            hosts = ",".join(f"127.0.0.1:{port}" for port in sentinels)
            yield Setup(f"redis+sentinel://{LOGIN}@{hosts}/{SERVICE}/0", [primary, replica], programs)
        finally:
            for program in programs:
                await program.end(SIGKILL)


@contextlib.asynccontextmanager
async def sharded(where: Path) -> AsyncIterator[Setup]:
    """A Cluster of three primaries, each with a replica."""
    async with contextlib.AsyncExitStack() as stack:
        servers = [cluster_server(where, f"node-{n}") for n in range(6)]
        await asyncio.gather(*(stack.enter_async_context(server) for server in servers))
        await join(servers)
        hosts = f"127.0.0.1:{servers[0].port},127.0.0.1:{servers[4].port}"
        yield Setup(f"redis+cluster://{LOGIN}@{hosts}", servers)


def cluster_server(where: Path, name: str) -> PrivateRedis:
    more = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "1500")
    return PrivateRedis(where, *user(), *more, *QUICK_REPLICATION, name=name)


async def join(servers: Sequence[PrivateRedis]) -> None:
    """The first three share the slots, the others are their replicas."""
    names = [await said(server, "CLUSTER", "MYID") for server in servers]
    for n, server in enumerate(servers[:3]):
        await said(server, "CLUSTER", "ADDSLOTSRANGE", str(n * SLOTS // 3), str((n + 1) * SLOTS // 3 - 1))
    for server in servers[1:]:
        bus = server.program.command[server.program.command.index("--cluster-port") + 1]
        await said(servers[0], "CLUSTER", "MEET", "127.0.0.1", str(server.port), bus)
    for server, name in zip(servers[3:], names, strict=False):
        await eventually(partial(replicates, server, name), within=30, every=0.1)
    for server in servers:
        await eventually(partial(is_settled, server, len(servers)), within=30, every=0.1)
    for server in servers[3:]:
        await eventually(partial(in_step, server), within=30)


async def replicates(server: PrivateRedis, primary: str) -> bool:
    """Whether the server has taken this primary; it refuses until it has heard of it."""
    try:
        return bool(await said(server, "CLUSTER", "REPLICATE", primary) == "OK")
    except redis.ResponseError:
        return False


async def is_settled(server: PrivateRedis, size: int) -> bool:
    """Whether the server sees the whole cluster well."""
    info = await said(server, "CLUSTER", "INFO")
    nodes = await said(server, "CLUSTER", "NODES")
    return "cluster_state:ok" in str(info) and str(nodes).count("slave ") == size // 2


async def move_slot(setup: Setup, slot: int) -> AsyncIterator[str]:
    """Moves one slot to another primary, and says between the steps where it is."""
    primaries = await setup.primaries()
    names = [str(await said(server, "CLUSTER", "MYID")) for server in primaries]
    owner = (await owners(primaries[0]))[slot]
    source = next(n for n, server in enumerate(primaries) if server.port == owner)
    target = (source + 1) % len(primaries)
    await said(primaries[target], "CLUSTER", "SETSLOT", str(slot), "IMPORTING", names[source])
    await said(primaries[source], "CLUSTER", "SETSLOT", str(slot), "MIGRATING", names[target])
    yield "half"
    to = ("MIGRATE", "127.0.0.1", str(primaries[target].port), "", "0", "5000", "KEYS")
    while keys := await said(primaries[source], "CLUSTER", "GETKEYSINSLOT", str(slot), "100"):
        await said(primaries[source], *to, *keys)
    yield "moved"
    for server in (primaries[target], primaries[source]):
        await said(server, "CLUSTER", "SETSLOT", str(slot), "NODE", names[target])
    yield "done"


async def owners(server: PrivateRedis) -> dict[int, int]:
    """The port of the primary of each slot, as this server sees it."""
    rows = await said(server, "CLUSTER", "SLOTS")
    return {slot: row[2][1] for row in rows for slot in range(row[0], row[1] + 1)}


def sentinel(where: Path, port: int, primary: int) -> Program:
    """A Sentinel that gives up on a primary after a second."""
    where.mkdir()
    lines = [
        f"port {port}\nbind 127.0.0.1\ndir {where}",
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 2",
        f"sentinel down-after-milliseconds {SERVICE} 1000",
        f"sentinel failover-timeout {SERVICE} 6000",
    ]
    (where / "sentinel.conf").write_text("\n".join(lines) + "\n")
    return Program([str(server_binary()), str(where / "sentinel.conf"), "--sentinel"], where / "sentinel.log")


async def knows_all(port: int) -> bool:
    """Whether this Sentinel has found the replica and both other Sentinels."""
    async with connect(f"redis://127.0.0.1:{port}") as client:
        if not await answers(client):
            return False
        state: Any = (await client.sentinel_masters())[SERVICE]  # type: ignore[call-overload]
        return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)


async def in_step(replica: PrivateRedis) -> bool:
    async with connect(replica.url) as client:
        return bool((await client.info("replication"))["master_link_status"] == "up")


async def role(server: PrivateRedis) -> str:
    async with connect(server.url) as client:
        return str((await client.info("replication"))["role"])


async def acl_log(server: PrivateRedis) -> list[dict[str, Any]]:
    async with connect(server.url) as client:
        return list(await client.acl_log())


async def said(server: PrivateRedis, *words: str) -> Any:
    """The plain answer to any command."""
    async with connect(server.url) as client:
        return await client.execute_command(*words)  # type: ignore[no-untyped-call]


def certify(where: Path) -> None:
    """A CA and a certificate for 127.0.0.1 from it."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    ca = (
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
        "-subj",
        "/CN=Test CA",
        "-addext",
        "keyUsage=critical,keyCertSign",
    )
    own = (
        "-keyout",
        "server.key",
        "-out",
        "server.crt",
        "-subj",
        "/CN=redis",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
    )
    names = ("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE")
    for words in (ca, (*own, *names)):
        subprocess.run(["openssl", "req", "-x509", *key, *words], cwd=where, check=True, capture_output=True)
