"""The official clients of others, unchanged, against three backends behind Nginx."""

from collections.abc import AsyncIterator

import pytest

from tests.world import sdks
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, Failure, Reply, ToolCall
from tests.world.invariants import assert_invariants

TEXT, LINE = "Hé 进入\n\n- b", "calculate(12*3) = 36"


@pytest.fixture
async def model(cluster: Cluster, ollama: FakeOllama) -> AsyncIterator[FakeOllama]:
    """Says TEXT behind a tool; fails and holds where it is asked to."""
    tokens = ["Hé ", "进入", "\n", "\n- ", "b"]
    ollama.default = Reply(tokens=tokens, tool=ToolCall("calculate", {"expression": "12*3"}))
    ollama.on("fail", Reply(refuse=True, failure=Failure(status=500)))
    ollama.on("held", HELD)
    yield ollama
    await assert_invariants(cluster, models=[ollama])  # each hang-up has closed the model's connection


@pytest.mark.timeout(400)
@pytest.mark.parametrize("version", ["openai 2", "openai 3"])
async def test_openai_for_python(cluster: Cluster, model: FakeOllama, version: str) -> None:
    seen = await sdks.told(sdks.python(version), "openai_python.py", cluster.url, cluster.url_of(2))
    total = seen["stream"][3]
    assert seen["stream"] == [TEXT, LINE, "stop", total]
    assert seen["whole"] == [TEXT, LINE, "stop", total]
    assert seen["unknown"][0] == "model_not_found"
    assert "There is no such model" in seen["unknown"][1]
    assert seen["failed whole"][0] == 502
    assert seen["failed in the stream"] in seen["failed whole"][1]
    assert len(model.of("fail")) == 2, "a client asked again by itself"
    assert seen["response"] == ["completed", TEXT, "response.created", "response.completed"]
    assert seen["background"] == ["in_progress", True]
    assert seen["cancelled"] == ["cancelled", "cancelled"]
    assert seen["again"] == "completed"


@pytest.mark.timeout(400)
async def test_chat_openai_of_langchain(cluster: Cluster, model: FakeOllama) -> None:
    seen = await sdks.told(sdks.python("openai 2"), "langchain.py", cluster.url)
    assert (seen["stream"], seen["whole"], len(seen["used"])) == (TEXT, TEXT, 1)


@pytest.mark.timeout(400)
async def test_the_clients_in_javascript(cluster: Cluster, model: FakeOllama) -> None:
    seen = await sdks.told(sdks.node(), "javascript.mjs", cluster.url, cluster.url_of(2))
    total = seen["stream"][2]
    assert seen["stream"] == [TEXT, LINE, total]
    assert seen["unknown"] == [404, "model_not_found"]
    assert seen["failed"]
    assert seen["response"] == ["completed", True]
    assert seen["cancelled"] == "cancelled"
    assert seen["ai"] == [TEXT, "stop", total, False, False, LINE]
    assert seen["aiFailed"]
    assert seen["agent"] == {"said": TEXT, "last": "RUN_FINISHED", "wrong": None}
    assert seen["agentFailed"]["last"] == "RUN_ERROR"
    assert seen["agentLeft"]["wrong"] is None
