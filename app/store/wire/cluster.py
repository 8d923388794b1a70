"""A Redis Cluster: knows which node owns which keys, sends each command there, and learns anew when
that has changed.

redis-py has a cluster client too. Its pipelines (8.1) close the connections to all nodes when one
node fails, so the death of one would stop the replies of all; here the others do not notice.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from loguru import logger
from redis.asyncio import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    MovedError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
    TryAgainError,
)

from app.settings.redis_url import Address
from app.store.wire.node import Entries, Node
from app.store.wire.script import Words

PAUSES = (0.05, 0.2, 0.4)  # between tries; the caller's deadline is the last word
ELSEWHERE = (ConnectionError, TimeoutError, MovedError, ClusterDownError, TryAgainError, ReadOnlyError)
READS = 32  # streams read at the same time
KEYLESS = {"PING", "INFO", "TIME", "PUBLISH", "SCRIPT"}


class Cluster:
    """Commands go to the nodes of their keys. One without a key goes along with the first that has one."""

    spread = True

    def __init__(self, seeds: Sequence[Address], node: Callable[[Address], Node]) -> None:
        self._seeds = seeds
        self._make = node
        self._nodes: dict[Address, Node] = {}
        self._owners: list[Address] = []  # by slot
        self._known: list[Address] = list(seeds)  # in the order in which they are asked
        self._stale = True
        self._learning = asyncio.Lock()
        self._reading = asyncio.Semaphore(READS)

    @property
    def bells(self) -> Redis:
        """Any node: a message published on one is heard on all."""
        return self._node(random.choice(self._known)).bells

    async def execute(self, commands: Sequence[Words], *, each_alone: bool = False) -> list[Any]:
        """The answers in order, errors among them.

        Nodes work at the same time; unless `each_alone`, that of the first command does so before
        the others.
        """
        answers: list[Any] = [ConnectionError("not sent")] * len(commands)
        for pause in (0, *PAUSES):
            open_ = [place for place, answer in enumerate(answers) if isinstance(answer, ELSEWHERE)]
            if not open_:
                break
            await asyncio.sleep(pause)
            await self._learn()
            await self._send_round(commands, open_, answers, each_alone)
        return answers

    async def everywhere(self, commands: Sequence[Words]) -> None:
        """Runs commands on every primary."""
        await self._learn()
        await asyncio.gather(*(self._run(owner, commands) for owner in set(self._owners)))

    async def scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """The names of all hashes of this pattern, one primary after the other."""
        await self._learn()
        for owner in set(self._owners):
            async for names in self._node(owner).scan(pattern):
                yield names

    async def read_streams(self, wanted: Sequence[tuple[str, int]]) -> list[Entries]:
        """New entries of each of these streams; each alone, for they are in other slots."""
        await self._learn()
        return await asyncio.gather(*(self._read_stream(key, after) for key, after in wanted))

    async def _read_stream(self, key: str, after: int) -> Entries:
        owner = self._owners[key_slot(key.encode())]
        try:
            async with self._reading:
                return (await self._node(owner).read_streams([(key, after)]))[0]
        except (*ELSEWHERE, OSError, RuntimeError):
            self._doubt(owner)
            raise

    async def aclose(self) -> None:
        """Closes every connection to every node."""
        await self._close(list(self._nodes))

    # sending

    async def _send_round(
        self, commands: Sequence[Words], places: list[int], answers: list[Any], each_alone: bool
    ) -> None:
        first, *others = self._by_owner(commands, places).items()
        if each_alone:
            others.insert(0, first)
        elif not await self._answered(first, commands, answers):
            return
        await asyncio.gather(*(self._answered(group, commands, answers) for group in others))

    def _by_owner(self, commands: Sequence[Words], places: list[int]) -> dict[Address, list[int]]:
        groups: dict[Address, list[int]] = {}
        along = next((key for command in commands if (key := _key(command))), "")
        for place in places:
            owner = self._owners[key_slot((_key(commands[place]) or along).encode())]
            groups.setdefault(owner, []).append(place)
        return groups

    async def _answered(
        self, group: tuple[Address, list[int]], commands: Sequence[Words], answers: list[Any]
    ) -> bool:
        """Runs what one node owns; whether it was the right one."""
        owner, places = group
        found = await self._run(owner, [commands[place] for place in places])
        for place, answer in zip(places, found, strict=True):
            moving = isinstance(answer, AskError) and not isinstance(answer, MovedError)
            answers[place] = await self._ask(answer, commands[place]) if moving else answer
        return not any(isinstance(answers[place], ELSEWHERE) for place in places)

    async def _run(self, owner: Address, commands: Sequence[Words]) -> list[Any]:
        try:
            answers = await self._node(owner).execute(commands)
        except (RedisError, OSError, RuntimeError) as error:  # RuntimeError: see TROUBLE in connect
            answers = [ConnectionError(str(error))] * len(commands)
        if any(isinstance(answer, ELSEWHERE) for answer in answers):
            self._doubt(owner)
        return answers

    async def _ask(self, where: AskError, command: Words) -> Any:
        """The key is moving to another node and is there already."""
        return (await self._run((where.host, where.port), [("ASKING",), command]))[1]

    # learning

    def _node(self, address: Address) -> Node:
        if address not in self._nodes:
            self._nodes[address] = self._make(address)
        return self._nodes[address]

    def _doubt(self, address: Address) -> None:
        """What we know is out of date, and this node is asked last."""
        self._stale = True
        if address in self._known:
            self._known.remove(address)
            self._known.append(address)

    async def _learn(self) -> None:
        """Asks one node after the other who owns what, when that is in doubt. Raises `ConnectionError`."""
        if not self._stale:
            return
        async with self._learning:
            for address in list(self._known) if self._stale else ():
                (rows,) = await self._run(address, [("CLUSTER", "SLOTS")])
                if isinstance(rows, list) and await self._learnt(address, rows):
                    return
        if self._stale:
            logger.warning("nodes=<{}> | no node tells who owns the keys of the cluster", len(self._known))
            raise ConnectionError("no node of the cluster answers")

    async def _learnt(self, teller: Address, rows: list[Any]) -> bool:
        """Takes over what a node told; whether every slot has an owner."""
        owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        seen: dict[Address, None] = {}
        for first, last, *nodes in rows:
            addresses = [_address(node, teller) for node in nodes]
            owners[first : last + 1] = [addresses[0]] * (last + 1 - first)
            seen |= dict.fromkeys(addresses)
        complete = [owner for owner in owners if owner]
        if len(complete) < REDIS_CLUSTER_HASH_SLOTS:
            return False
        new = [address for address in seen if address not in self._known]
        still = [address for address in self._known if address in seen]
        self._owners, self._stale = complete, False
        self._known = list(dict.fromkeys([teller, *new, *still, *self._seeds]))
        await self._close(self._nodes.keys() - set(self._known))
        return True

    async def _close(self, addresses: Iterable[Address]) -> None:
        for address in list(addresses):
            await self._nodes.pop(address).aclose()


def _key(command: Words) -> str | None:
    if command[0] in KEYLESS:
        return None
    return str(command[3] if command[0] == "EVALSHA" else command[1])


def _address(node: list[Any], teller: Address) -> Address:
    """Host and port; a node that does not know its own name is where it was asked."""
    host = node[0].decode() if node[0] else ""
    return (host if host not in ("", "?") else teller[0]), int(node[1])
