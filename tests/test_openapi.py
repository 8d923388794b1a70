"""Random requests made from the API description: nothing answers with a 5xx or beside its description."""

import os
import sys
from pathlib import Path
from signal import SIGTERM

import pytest

from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply
from tests.world.processes import Program

EVERYWHERE = "not_a_server_error"
DIRECTLY = f"{EVERYWHERE},status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.parametrize(
    ("through", "checks"), [("nginx", EVERYWHERE), ("backend", DIRECTLY)], ids=["through nginx", "directly"]
)
async def test_random_requests_find_nothing(
    cluster: Cluster, ollama: FakeOllama, where: Path, through: str, checks: str
) -> None:
    ollama.default = Reply(tokens=1)
    url = cluster.url if through == "nginx" else cluster.url_of(1)
    examples = os.environ.get("SOAK_EXAMPLES", "15")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--checks", checks]
    command += [
        "--max-examples",
        examples,
        "--seed",
        "4711",
        "--phases",
        "examples,coverage,fuzzing",
        "--no-color",
    ]
    random_requests = Program(command, where / "schemathesis.log", env={"PYTHONWARNINGS": "ignore"})
    await random_requests.start()
    try:
        assert await random_requests.wait(110) == 0, random_requests.output[-6000:]
    finally:
        await random_requests.end(SIGTERM)
    assert all(program.running for program in cluster.backends.values())


async def test_every_answer_says_what_is_in_it(cluster: Cluster) -> None:
    async with cluster.client(1) as client:
        schemas = (await client.get("/openapi.json"))["components"]["schemas"]
    empty = [
        name for name, one in schemas.items() if one.get("type") == "object" and not one.get("properties")
    ]
    assert not empty


async def test_every_route_says_what_it_does_and_what_may_go_wrong(cluster: Cluster) -> None:
    """Only what is open with API_KEYS too has no 401."""
    async with cluster.client(1) as client:
        paths = (await client.get("/openapi.json"))["paths"]
    routes = {f"{verb} {path}": route for path, verbs in paths.items() for verb, route in verbs.items()}
    assert len(routes) > 30
    assert all(route.get("summary") for route in routes.values())
    guarded = {name: route for name, route in routes.items() if "/health" not in name}
    assert not [name for name, route in guarded.items() if "401" not in route["responses"]]
