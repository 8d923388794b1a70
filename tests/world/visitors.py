"""People who use the product while it is being broken: they chat, stop, leave and come back, and note what is
wrong.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from tests.world.client import Client, Stream
from tests.world.cluster import Cluster
from tests.world.invariants import Witness

GIVE_UP_SECONDS = 60  # longer than anything the contract lets a person wait
EARLY_STOP_SECONDS = 45  # an early stop is kept for 60


@dataclass
class Ledger:
    """What all visitors did and what they saw go wrong."""

    done: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    witnesses: list[Witness] = field(default_factory=list)
    longest_wait: float = 0.0


@dataclass
class Visitor:
    """One person with one chat at a time; `talking` is false when it is time to go home."""

    name: str
    cluster: Cluster
    ledger: Ledger
    chance: random.Random
    talking: Callable[[], bool]
    runs: int = 0

    async def live(self) -> None:
        """Act at random until it is time; whatever is against the contract goes into the ledger."""
        witness = self._new_chat()
        async with self.cluster.client() as client:
            while self.talking():
                if len(witness.accepted) >= 5:
                    witness = self._new_chat()
                act = self.chance.choice(
                    [self.stay, self.stay, self.stop, self.stop, self.leave, self.early_stop]
                )
                try:
                    await act(client, witness)
                    self.ledger.done[act.__name__] += 1
                except AssertionError as error:
                    self.ledger.violations.append(f"{self.name}, {act.__name__}, {witness.chat_id}: {error}")
                    witness = self._new_chat()

    def _new_chat(self) -> Witness:
        self.ledger.witnesses.append(Witness(f"{self.name}-{len(self.ledger.witnesses)}"))
        return self.ledger.witnesses[-1]

    def _run_id(self) -> str:
        self.runs += 1
        return f"{self.name}-run-{self.runs:05}"

    # what a visitor does

    async def stay(self, client: Client, witness: Witness) -> None:
        """Reads a reply to its end."""
        run_id = self._run_id()
        await self._begin(client, witness, "short", run_id, events=10_000)
        outcome = await self._to_the_end(client, witness, run_id)
        assert outcome != "stopped", f"{run_id}: nobody stopped it"

    async def stop(self, client: Client, witness: Witness) -> None:
        """Stops a long reply in the middle."""
        run_id = self._run_id()
        await self._begin(client, witness, "long", run_id, events=self.chance.randrange(1, 60))
        await self._stop(client, witness, run_id)
        outcome = await self._to_the_end(client, witness, run_id)
        assert outcome != "done", f"{run_id}: its stop was accepted and lost"

    async def leave(self, client: Client, witness: Witness) -> None:
        """Goes away in the middle and comes back later."""
        run_id = self._run_id()
        await self._begin(client, witness, "short", run_id, events=self.chance.randrange(1, 60))
        await asyncio.sleep(self.chance.uniform(0, 3))
        outcome = await self._to_the_end(client, witness, run_id)
        assert outcome != "stopped", f"{run_id}: nobody stopped it"

    async def early_stop(self, client: Client, witness: Witness) -> None:
        """Stops a reply before it exists."""
        run_id = self._run_id()
        await self._stop(client, witness, run_id)
        asked = time.monotonic()
        await self._begin(client, witness, "long", run_id, events=10_000)
        if time.monotonic() - asked > EARLY_STOP_SECONDS:
            await self._stop(client, witness, run_id)
        outcome = await self._to_the_end(client, witness, run_id)
        assert outcome != "done", f"{run_id}: its early stop was lost"

    # how

    async def _begin(self, client: Client, witness: Witness, word: str, run_id: str, *, events: int) -> None:
        """Send the message until it is accepted (the same run id never runs twice), and read some events."""
        message = f"{word} question of {run_id}"
        asked = time.monotonic()
        while True:
            stream = await self._try_to_begin(client, witness, message, run_id, events)
            if stream:
                self.ledger.done["messages"] += 1
                self.ledger.longest_wait = max(self.ledger.longest_wait, time.monotonic() - asked)
                return
            assert time.monotonic() - asked < GIVE_UP_SECONDS, f"{run_id} was not accepted"
            await asyncio.sleep(0.2)

    async def _try_to_begin(
        self, client: Client, witness: Witness, message: str, run_id: str, events: int
    ) -> Stream | None:
        try:
            async with client.chat(witness.chat_id, message, run_id=run_id) as stream:
                if stream.status in {502, 503, 504}:
                    return None
                if stream.status == 409:
                    problem = stream.response.json()
                    assert problem["code"] == "chat_busy", problem
                    return None
                assert stream.status == 200, f"{stream.status} {stream.response.text}"
                assert stream.run_id == run_id
                witness.saw(stream, message)
                await self._read(stream, events)
                return stream
        except httpx.HTTPError:
            return None

    async def _read(self, stream: Stream, events: int) -> None:
        """Read on; a connection that breaks, also in the middle of a frame, is nobody's fault here."""
        try:
            while len(stream.frames) < events and not stream.ended:
                await stream.next()
        except (httpx.HTTPError, TimeoutError, AssertionError):
            self.ledger.done["broken streams"] += 1

    async def _to_the_end(self, client: Client, witness: Witness, run_id: str) -> str:
        """Come back as often as it takes; how the run ended."""
        asked = time.monotonic()
        while not (outcome := outcome_of_run(witness, run_id)):
            assert time.monotonic() - asked < GIVE_UP_SECONDS, f"{run_id} never ended"
            try:
                last = max(
                    (s.frames[-1] for s in witness.streams[run_id] if s.frames),
                    key=lambda f: f.number,
                    default=None,
                )
                async with client.attach(witness.chat_id, last_id=last.id if last else None) as stream:
                    assert stream.status != 204, f"{run_id}: nothing left to replay"
                    if stream.status == 200:
                        assert stream.run_id == run_id, f"{run_id}: {stream.run_id} was replayed"
                        self.ledger.done["resumes"] += 1
                        witness.saw(stream)
                        await self._read(stream, 10_000)
                        continue
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)
        return outcome

    async def _stop(self, client: Client, witness: Witness, run_id: str) -> None:
        """Ask until the stop is accepted."""
        asked = time.monotonic()
        while True:
            try:
                wait = {"wait": str(self.chance.choice([0, 1000]))}
                path = f"/api/v1/stop/{witness.chat_id}"
                answer = await client.http.post(path, params=wait, json={"run_id": run_id})
                if answer.status_code == 202:
                    self.ledger.done["stops"] += 1
                    return
                assert answer.status_code in {502, 503, 504}, f"{answer.status_code} {answer.text}"
            except httpx.HTTPError:
                pass
            assert time.monotonic() - asked < GIVE_UP_SECONDS, f"the stop of {run_id} was not accepted"
            await asyncio.sleep(0.2)


def outcome_of_run(witness: Witness, run_id: str) -> str | None:
    return next((stream.outcome for stream in witness.streams.get(run_id, []) if stream.outcome), None)
