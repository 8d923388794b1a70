"""What a backend tells Prometheus is what happened, and Prometheus, its dashboard and its alerts read it."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, Reply, ToolCall
from tests.world.processes import ROOT, Program, free_port
from tests.world.waiting import eventually

MONITORING = ROOT / "deploy" / "monitoring"
TELL = """
from app.backend import Backend
from app.settings import Settings

print(Backend(Settings()).metrics.page().decode())
"""
Figures = Counter[tuple[str, str]]
needs_prometheus = pytest.mark.skipif(
    not shutil.which("prometheus") or not shutil.which("promtool"),
    reason="needs Prometheus: sudo apt install -y prometheus",
)


def read(text: str) -> Figures:
    """Name and labels, but the buckets, to value."""
    found: Figures = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[sample.name, labels] += sample.value  # type: ignore[assignment]
    return found


async def figures(cluster: Cluster) -> Figures:
    """Of all backends together."""
    async with httpx.AsyncClient() as http:
        answers = [await http.get(f"{cluster.url_of(n)}/metrics") for n in cluster.numbers]
    assert all(answer.status_code == 200 for answer in answers)
    return sum((read(answer.text) for answer in answers), Counter())


async def some_talk(cluster: Cluster, ollama: FakeOllama, name: str) -> dict[str, Any]:
    """Runs that end, fail, use a tool and are stopped; what a caller counted of them."""
    ollama.on("fail", Reply(refuse=True))
    ollama.on("sum", Reply(tool=ToolCall("calculate", {"expression": "2+2"})))
    ollama.on("hold", HELD)
    counted: Counter[str] = Counter()
    async with cluster.client() as client:
        for n, question in enumerate(["hello"] * 5 + ["fail"] * 2 + ["sum"] * 3):
            stream = await client.ask(f"{name}-{n}", question)
            counted[f"outcome {stream.outcome}"] += 1
            counted["input"] += stream.end["usage"]["input_tokens"]
            counted["output"] += stream.end["usage"]["output_tokens"]
        for n in range(4):
            await stopped(client, f"{name}-held-{n}", counted)
        assert (await client.replay(f"{name}-0")).outcome == "done"
    return counted


async def stopped(client: Client, chat_id: str, counted: Counter[str]) -> None:
    async with client.chat(chat_id, "hold") as stream:
        await stream.until_text("word2")
        assert (await client.stop(chat_id, wait=5000))["result"] == "stopped"
        await stream.rest()
    counted["outcome stopped"] += 1
    counted["input"] += stream.end["usage"]["input_tokens"]
    counted["output"] += stream.end["usage"]["output_tokens"]


async def test_the_figures_are_what_was_counted_from_outside(
    cluster: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    before = await figures(cluster)
    counted = await some_talk(cluster, ollama, chat_id)
    after = await eventually(lambda: same_closed(cluster, before, 4))
    after.subtract(before)

    def total(name: str, having: str = "") -> float:
        return float(sum(value for key, value in after.items() if key[0] == name and having in key[1]))

    for outcome in ("done", "stopped", "failed"):
        assert total("chat_runs_ended_total", f"outcome={outcome}") == counted[f"outcome {outcome}"]
        assert total("chat_run_seconds_count", f"outcome={outcome}") == counted[f"outcome {outcome}"]
    assert total("chat_first_token_seconds_count") == 12  # those that failed had none
    assert total("chat_tokens_total", "direction=input") == counted["input"]
    assert total("chat_tokens_total", "direction=output") == counted["output"]
    assert after["chat_stops_total", "result=stopped"] == 4
    assert total("chat_stop_seconds_count") == total("chat_model_closed_seconds_count") == 4
    assert after["chat_tool_seconds_count", "status=done,tool=calculate"] == 3
    assert total("chat_resumes_total") == 1
    assert total("chat_redis_seconds_count") > 14
    assert total("chat_runs_live") == total("chat_redis_errors_total") == 0


async def same_closed(cluster: Cluster, before: Figures, closed: int) -> Figures | None:
    """The figures once so many more connections to the model have closed: that may come behind the end."""
    now, name = await figures(cluster), ("chat_model_closed_seconds_count", "")
    return now if now[name] - before[name] == closed else None


async def test_labels_name_no_person_and_no_chat(cluster: Cluster, ollama: FakeOllama, chat_id: str) -> None:
    await some_talk(cluster, ollama, chat_id)
    for n in cluster.numbers:
        async with cluster.client(n) as client:
            told = (await client.http.get("/metrics")).text
        assert chat_id not in told
        assert "hello" not in told


async def test_live_runs_and_readers_are_those_of_now(
    cluster: Cluster, client: Client, ollama: FakeOllama, chat_id: str
) -> None:
    ollama.default = HELD
    async with client.chat(chat_id, "hello") as stream:
        await stream.until_text("word2")
        async with client.attach(chat_id) as other:
            await other.until_text("word2")
            now = await figures(cluster)
            assert (now["chat_runs_live", ""], now["chat_readers", ""]) == (1, 2)
            assert now["chat_stop_listener", ""] == len(cluster.numbers)
        await client.stop(chat_id, wait=5000)
    assert await eventually(lambda: none_left(cluster))


async def none_left(cluster: Cluster) -> bool:
    now = await figures(cluster)
    return not now["chat_runs_live", ""] and not now["chat_readers", ""]


async def test_nobody_reads_the_figures_through_nginx(client: Client) -> None:
    assert (await client.http.get("/metrics")).status_code == 404


async def test_names_that_a_model_makes_up_do_not_grow_the_figures() -> None:
    from app.runs.metrics import MOST_NAMES, OTHER, Few

    few = Few()
    names = {few.of(f"tool-{n}") for n in range(1000)}
    assert len(names) == MOST_NAMES + 1
    assert OTHER in names
    assert few.of("tool-3") == "tool-3"


# with a Prometheus


@pytest.fixture
async def prometheus(cluster: Cluster, where: Path) -> AsyncIterator[str]:
    """A real one that scrapes the backends every second, with our alerts."""
    targets = [f"127.0.0.1:{port}" for port in cluster.ports.values()]
    (where / "alerts.yml").write_text((MONITORING / "alerts.yml").read_text())
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [{"job_name": "chat", "static_configs": [{"targets": targets}]}],
    }
    (where / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    command = ["prometheus", f"--config.file={where}/prometheus.yml", f"--storage.tsdb.path={where}/tsdb"]
    program = Program([*command, f"--web.listen-address=127.0.0.1:{port}"], where / "prometheus.log")
    await program.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await program.end()


async def asked(http: httpx.AsyncClient, query: str) -> list[dict[str, Any]]:
    answer = await http.get("/api/v1/query", params={"query": query})
    assert answer.status_code == 200, (query, answer.text)
    return list(answer.json()["data"]["result"])


async def ready(http: httpx.AsyncClient, backends: int) -> bool:
    try:
        return len(await asked(http, 'up{job="chat"} == 1')) == backends
    except (httpx.HTTPError, AssertionError):
        return False


def queries() -> list[str]:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


@needs_prometheus
async def test_every_query_of_the_dashboard_finds_something(
    cluster: Cluster, ollama: FakeOllama, chat_id: str, prometheus: str
) -> None:
    async with httpx.AsyncClient(base_url=prometheus) as http:
        await eventually(lambda: ready(http, len(cluster.numbers)), within=60)
        await some_talk(cluster, ollama, chat_id)
        for query in queries():
            plain = query.replace("$__rate_interval", "1m")
            await eventually(partial(asked, http, plain), within=30, every=0.2)
        groups = (await http.get("/api/v1/rules")).json()["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert rules
        assert not [rule["name"] for rule in rules if rule["health"] == "err"]


@needs_prometheus
async def test_the_slowest_stops_are_as_slow_as_who_asked_was_told(
    cluster: Cluster, ollama: FakeOllama, chat_id: str, prometheus: str
) -> None:
    """The quantile over all backends falls into the bucket of what was measured, or the one beside it."""
    ollama.on("hold", HELD)
    async with httpx.AsyncClient(base_url=prometheus) as http, cluster.client() as client:
        await eventually(lambda: ready(http, len(cluster.numbers)), within=60)
        stops = "sum(chat_stop_seconds_count)"
        before = float((await asked(http, stops))[0]["value"][1])
        told = sorted([await stop_ms(client, f"{chat_id}-{n}") for n in range(25)])
        await eventually(partial(at_least, http, stops, before + len(told)), within=30, every=0.2)
        by_bucket = "sum by (le) (increase(chat_stop_seconds_bucket[5m]))"
        (found,) = await asked(http, f"histogram_quantile(0.99, {by_bucket})")
        bounds = sorted(float(one["metric"]["le"]) for one in await asked(http, by_bucket))
    from_prometheus, measured = float(found["value"][1]), told[-1] / 1000
    assert abs(bisect_left(bounds, from_prometheus) - bisect_left(bounds, measured)) <= 1


async def stop_ms(client: Client, chat_id: str) -> float:
    async with client.chat(chat_id, "hold") as stream:
        await stream.until_text("word2")
        began = time.monotonic()
        answer = await client.stop(chat_id, wait=5000)
        await stream.rest()
        assert answer["stop_ms"] <= (time.monotonic() - began) * 1000 + 1
    return float(answer["stop_ms"])


async def at_least(http: httpx.AsyncClient, query: str, least: float) -> bool:
    found = await asked(http, query)
    return bool(found) and float(found[0]["value"][1]) >= least


async def test_to_be_asked_each_second_costs_a_hundredth_of_a_processor(cluster: Cluster) -> None:
    scrapes, pid = 100, cluster.backends[1].pid
    async with httpx.AsyncClient(base_url=cluster.url_of(1)) as http:
        before = processor_seconds(pid)
        for _ in range(scrapes):
            assert (await http.get("/metrics")).status_code == 200
        used = processor_seconds(pid) - before
    assert used / scrapes < 0.01


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@needs_prometheus
async def test_prometheus_own_checks_have_nothing_to_say(cluster: Cluster) -> None:
    async with cluster.client(1) as client:
        told = (await client.http.get("/metrics")).text
    checked = await asyncio.to_thread(promtool, "check", "metrics", stdin=told)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    for kind, name in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
        done = await asyncio.to_thread(promtool, "check", kind, str(MONITORING / name))
        assert done.returncode == 0, done.stdout + done.stderr


def promtool(*words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["promtool", *words], input=stdin, capture_output=True, text=True, check=False)


def test_the_dashboard_can_be_provisioned_as_it_is() -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    assert dashboard["uid"]
    assert "__inputs" not in dashboard
    assert not any("id" in panel for panel in dashboard["panels"])
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {"${datasource}"}


def test_every_figure_is_on_the_dashboard_or_in_an_alert() -> None:
    shown = " ".join(queries()) + (MONITORING / "alerts.yml").read_text()
    told = subprocess.run([sys.executable, "-c", TELL], capture_output=True, text=True, check=True, cwd=ROOT)
    names = {family.name for family in text_string_to_metric_families(told.stdout)}
    assert len(names) > 15
    assert not [name for name in names if name not in shown]
