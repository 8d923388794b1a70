"""A model of a hundred lines and the service agree on every chat, message, step and version, whatever is done
to them: with backends killed and answers of Redis lost in between.
"""

import asyncio
import os
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.world.invariants import assert_quiet
from tests.world.rough import Rough, rough_cluster
from tests.world.scripted import play
from tests.world.talker import Talker

PEOPLE = 6
KEEP = 14
AT_A_TIME = 8  # deeds of each person between two changes of the weather
STEPS = int(os.environ.get("SOAK_CONVERSATION", "240"))  # all of them: 10,000
SEEDS = os.environ.get("SOAK_SEEDS", "1").split(",")
WEATHER = [0.0, 0.02, 0.05]  # of the answers of Redis, so many are lost
KILL_EVERY = int(os.environ.get("SOAK_KILL_EVERY", "12"))  # changes of the weather


async def killed(rough: Rough, people: list[Talker], number: int) -> None:
    """One backend dies and comes back; whoever was told something by it finds what is left."""
    made = [await talker.backends() for talker in people]
    await rough.cluster.kill(number)
    lost = [[chat for chat, backend in one.items() if backend == f"backend-{number}"] for one in made]
    back = asyncio.create_task(rough.cluster.start_again(number))
    await asyncio.gather(*(talker.lost(chats) for talker, chats in zip(people, lost, strict=True)))
    await back


async def some(talker: Talker) -> None:
    for _ in range(AT_A_TIME):
        await talker.act()


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # sockets of requests cut short
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("seed", SEEDS)
async def test_the_model_and_the_service_agree(tmp_path: Path, seed: str) -> None:
    chance = random.Random(f"weather-{seed}")
    env = {
        "API_KEYS": ",".join(f"p{n}:key-of-p{n}" for n in range(PEOPLE)),
        "MEMORY_KEEP_MESSAGES": str(KEEP),
        "STOP_GRACE_MS": "0",
        "DISCONNECT_GRACE_SECONDS": "-1",
        "TOKEN_TIMEOUT_SECONDS": "3600",  # a reply that is held is silent until somebody ends it
        "RUN_TIMEOUT_SECONDS": "3600",
    }
    async with rough_cluster(tmp_path, **env) as rough:
        rough.ollama.plays = play
        people = [Talker(f"p{n}", rough, KEEP, f"{seed}-{n}") for n in range(PEOPLE)]
        rounds = max(1, STEPS // (PEOPLE * AT_A_TIME))
        for turn in range(1, rounds + 1):
            rough.redis_link.drop_fraction = chance.choice(WEATHER)
            await asyncio.gather(*(some(talker) for talker in people))
            rough.redis_link.heal()
            if turn % KILL_EVERY == 0 or turn == rounds // 2 + 1:
                await killed(rough, people, chance.choice([1, 2, 3]))
            print(f"seed {seed}: {sum(one.deeds for one in people)} deeds, "
                  f"{rough.redis_link.dropped} answers lost", file=sys.stderr, flush=True)  # fmt: skip
        deeds = Counter(deed for one in people for log in one.log.values() for deed in log)
        late = sum(one.late for one in people)
        print(f"seed {seed}: {deeds}, {late} stops too late", file=sys.stderr)
        for talker in people:
            await talker.listed()
            for thread in list(talker.threads.values()):
                await talker.delete(thread)
            await talker.listed()
        assert_asked_once(rough)
        for talker in people:
            await talker.wire.client.http.aclose()
        async with rough.cluster.client(key="key-of-p0") as client:
            await assert_quiet(rough.cluster, client, [rough.ollama])


def assert_asked_once(rough: Rough) -> None:
    """No question was put to the model twice; of those behind each other it is the last."""
    asked = Counter(exchange.asked.rpartition("\n\n")[2] for exchange in rough.ollama.exchanges)
    again = [one for one, times in asked.items() if times > 1 and one.startswith(("plain ", "cut "))]
    assert not again
