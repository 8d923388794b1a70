"""Spans are made only where something collects them, and carry nobody's words unless that is wished."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from tests.conftest import ollama_env
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply, ToolCall
from tests.world.waiting import eventually

# says so when the conversation is written into a span
SPAN = """
from app.agents.answer import Answerer
from app.settings import Settings
from strands.telemetry import tracer

Answerer(Settings(provider="demo"))
tracer.serialize = lambda _: print("written") or ""
hello = [{"role": "user", "content": [{"text": "hi"}]}]
tracer.get_tracer().end_span_with_error(tracer.get_tracer().start_agent_span(hello, "general"), "failed")
"""

COLLECTED = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_tracer_provider

set_tracer_provider(TracerProvider())
"""
SAID, QUESTION, SUM = "canary-answer", "canary-question", "40 + 2"


@pytest.mark.parametrize(("before", "written"), [("", False), (COLLECTED, True)])
def test_a_conversation_goes_into_spans_only_where_a_collector_is_set_up(before: str, written: bool) -> None:
    done = subprocess.run([sys.executable, "-c", before + SPAN], capture_output=True, text=True, check=True)
    assert ("written" in done.stdout) == written, done.stderr


class Collector:
    """Takes OTLP over HTTP and keeps the bytes."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        return web.Response(body=b"", content_type="application/x-protobuf")

    @property
    def spans(self) -> list[Any]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        scopes = [scope for one in requests for part in one.resource_spans for scope in part.scope_spans]
        return [span for scope in scopes for span in scope.spans]

    @property
    def raw(self) -> str:
        return b"".join(self.bodies).decode("utf-8", "replace")


@pytest.fixture
async def collector() -> AsyncIterator[tuple[Collector, str]]:
    kept, app = Collector(), web.Application(client_max_size=2**26)
    app.add_routes([web.post("/v1/traces", kept.take)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield kept, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize("content", [False, True])
async def test_a_trace_tells_the_steps_of_a_run_and_words_only_when_wished(
    where: Path, redis_url: str, ollama: FakeOllama, collector: tuple[Collector, str], content: bool
) -> None:
    kept, url = collector
    chat_id = f"traced-{content}"
    ollama.default = Reply(tool=ToolCall("calculate", {"expression": SUM}), tokens=[SAID])
    ollama.on("fail", Reply(refuse=True))
    env = {**ollama_env(ollama), "OTEL_EXPORTER_OTLP_ENDPOINT": url, "TRACE_CONTENT": str(content).lower()}
    async with Cluster(where, redis_url, env=env, backends=1) as cluster, cluster.client() as client:
        stream = await client.ask(chat_id, QUESTION)
        assert stream.outcome == "done"
        await client.ask(f"{chat_id}-failed", f"fail {QUESTION}")
        await eventually(lambda: len(roots(kept)) == 2, within=30)
    (root,) = [span for span in roots(kept) if attributes(span)["chat.run_id"] == stream.run_id]
    assert attributes(root)["gen_ai.conversation.id"] == chat_id
    tools = [span for span in kept.spans if span.name.startswith("execute_tool")]
    assert [span.trace_id for span in tools] == [root.trace_id]
    assert attributes(tools[0])["gen_ai.tool.name"] == "calculate"
    for word in (SAID, QUESTION, SUM):
        assert (word in kept.raw) == content
    if not content:
        assert "provider-secret-detail" not in kept.raw
        assert "exact" not in kept.raw  # of the prompt and the tools' descriptions


def roots(kept: Collector) -> list[Any]:
    return [span for span in kept.spans if span.name.startswith("invoke_agent")]


def attributes(span: Any) -> dict[str, str]:
    return {one.key: one.value.string_value for one in span.attributes}


async def test_a_collector_that_is_away_harms_nobody(
    where: Path, redis_url: str, ollama: FakeOllama, chat_id: str
) -> None:
    env = {**ollama_env(ollama), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    async with Cluster(where, redis_url, env=env, backends=1) as cluster, cluster.client() as client:
        assert (await client.ask(chat_id, QUESTION)).outcome == "done"
