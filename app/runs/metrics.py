"""What this backend has counted, for Prometheus. Nothing is done per token; no label names a person
or an id.

Each backend has a registry of its own: quantiles are sums of buckets over all of them.
"""

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from app import __version__
from app.events import End
from app.runs.reply import Reply
from app.settings import Settings
from app.store.records import LiveRun

MOST_NAMES = 50  # different ones of a kind; what a model or a server names may be endless
OTHER = "other"
KIND = CONTENT_TYPE_LATEST

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 20)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1800)

disable_created_metrics()  # type: ignore[no-untyped-call]  # twice as many lines, for nothing that is asked


class Few:
    """Names of a kind, as many as fit a label; the rest are one."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def of(self, name: str) -> str:
        """The name, or `other` when there are too many already."""
        if name not in self._names and len(self._names) >= MOST_NAMES:
            return OTHER
        self._names.add(name)
        return name


class Metrics:
    """The figures of one backend; whoever counts calls a method here or hands a function to `live`."""

    def __init__(self, settings: Settings) -> None:
        self._registry = CollectorRegistry()
        self._few = {kind: Few() for kind in ("model", "reason", "tool")}
        self._ended = self._counter("chat_runs_ended", "Runs that have ended", "outcome reason")
        self._run = self._seconds("chat_run", "From the start of a run to its end", _SLOW, "outcome")
        self._first = self._seconds(
            "chat_first_token", "From the turn of a run to its first token", _SLOW, "provider model"
        )
        self._tokens = self._counter("chat_tokens", "Tokens of ended runs", "direction exact")
        self._stops = self._counter("chat_stops", "Stops asked for here, by what became of them", "result")
        self.stop = self._seconds("chat_stop", "From a stop to the end of its run", _QUICK)
        self.closed = self._seconds(
            "chat_model_closed", "From a cut to the model's closed connection", _QUICK
        )
        self._resumes = self._counter("chat_resumes", "Readers that attached, by where the run was", "from")
        self._tool = self._seconds("chat_tool", "Time in tools", _SLOW, "tool status")
        self._queue = self._seconds("chat_queue", "Time in front of a busy model", _SLOW)
        self._redis = self._seconds("chat_redis", "One call to Redis, with its retry", _QUICK)
        self._errors = self._counter("chat_redis_errors", "Calls to Redis that failed")
        self.settled = self._counter("chat_settled", "Runs of lost backends that were settled here")
        labels = {"version": __version__, "provider": settings.provider, "backend": settings.backend_id}
        build = self._gauge("chat_build_info", "What runs here, always 1", " ".join(labels))
        build.labels(**labels).set(1)

    def page(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)

    def show(self, name: str, told: str, ask: Callable[[], float]) -> None:
        """A figure that is asked when somebody looks."""
        self._gauge(name, told).set_function(ask)

    def count_run(self, live: LiveRun, reply: Reply, end: End) -> None:
        """Counts a run, once, as its readers are told how it ended."""
        reason = self._few["reason"].of(end.stop_reason)
        self._ended.labels(end.outcome, reason).inc()
        self._run.labels(end.outcome).observe(end.duration_ms / 1000)
        if reply.first_seconds is not None:
            model = self._few["model"].of(live.model)
            self._first.labels(live.provider, model).observe(reply.first_seconds)
        exact = str(end.usage.exact).lower()
        self._tokens.labels("input", exact).inc(end.usage.input_tokens)
        self._tokens.labels("output", exact).inc(end.usage.output_tokens)
        if reply.waited is not None:
            self._queue.observe(reply.waited)
        for tool, status, seconds in reply.tools_used():
            self._tool.labels(self._few["tool"].of(tool), status).observe(seconds)

    def count_stops(self, results: Iterable[str]) -> None:
        """Counts what became of stops."""
        for result in results:
            self._stops.labels(result).inc()

    def count_reader(self, where: str) -> None:
        """Counts a reader that attached: `here`, `elsewhere`, or from the `log` of an ended run."""
        self._resumes.labels(where).inc()

    def count_call(self, seconds: float, failed: bool) -> None:
        """Counts a call to Redis."""
        self._redis.observe(seconds)
        if failed:
            self._errors.inc()

    def _counter(self, name: str, told: str, labels: str = "") -> Counter:
        return Counter(name, told, labels.split(), registry=self._registry)

    def _gauge(self, name: str, told: str, labels: str = "") -> Gauge:
        return Gauge(name, told, labels.split(), registry=self._registry)

    def _seconds(self, name: str, told: str, buckets: Any, labels: str = "") -> Histogram:
        return Histogram(f"{name}_seconds", told, labels.split(), buckets=buckets, registry=self._registry)
