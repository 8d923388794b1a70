"""OpenTelemetry spans where somebody collects them, without the words of people unless that is
wished.

Strands writes the whole conversation into the attributes of its spans, as JSON, five times a turn,
even when the spans go nowhere: 40 % of what it costs when the history is long.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    INVALID_SPAN,
    ProxyTracerProvider,
    Span,
    Status,
    get_tracer_provider,
    set_tracer_provider,
)
from strands.telemetry import tracer
from strands.telemetry.tracer import Tracer

from app import __version__
from app.clock import ENDING_SECONDS
from app.settings import Settings

# texts that are no words of anybody; numbers pass as they are
NAMES = {
    "gen_ai.operation.name",
    "gen_ai.system",
    "gen_ai.provider.name",
    "gen_ai.agent.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.tool.name",
    "gen_ai.tool.call.id",
    "gen_ai.tool.status",
    "gen_ai.tool.type",
    "gen_ai.event.start_time",
    "gen_ai.event.end_time",
    "gen_ai.conversation.id",
    "error.type",
    "event_loop.cycle_id",
    "event_loop.parent_cycle_id",
    "chat.run_id",
    "chat.backend",
}


class _NoTracer(Tracer):
    """Starts only the span that is none."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("start_"):
            return _none
        return _nothing if name.startswith("end_") else super().__getattribute__(name)


class _Wordless(SpanExporter):
    """Hands on spans without what people, models and tools said: no events, no texts of errors."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._inner.export([_wordless(span) for span in spans])

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._inner.force_flush(timeout_millis)


def set_up(settings: Settings) -> TracerProvider | None:
    """Our provider where a collector is set; else none, and no spans unless something else
    (`opentelemetry-instrument`) has set one up.

    Raises `ValueError` with one line when what sends them is not installed.
    """
    if not isinstance(get_tracer_provider(), ProxyTracerProvider):
        return None
    if not settings.otel_exporter_otlp_endpoint:
        tracer._tracer_instance = _NoTracer()  # type: ignore[assignment]  # what `get_tracer` answers; no public way
        return None
    names = {"service.name": "fastapi-agent-chat", "service.version": __version__}
    provider = TracerProvider(resource=Resource.create(names | {"service.instance.id": settings.backend_id}))
    exporter = _exporter(settings.otel_exporter_otlp_endpoint)
    provider.add_span_processor(
        BatchSpanProcessor(exporter if settings.trace_content else _Wordless(exporter))
    )
    set_tracer_provider(provider)
    return provider


async def flush(provider: TracerProvider | None) -> None:
    """Sends what is left, for a moment; a collector that is away holds up nobody's leaving."""
    if provider:
        most = int(ENDING_SECONDS * 500)
        await asyncio.to_thread(provider.force_flush, most)


def _exporter(endpoint: str) -> SpanExporter:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise ValueError(
            "OTEL_EXPORTER_OTLP_ENDPOINT: traces need a package more: uv sync --inexact --extra otel"
        ) from None
    return OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=ENDING_SECONDS)


def _wordless(span: ReadableSpan) -> ReadableSpan:
    kept = {
        name: value
        for name, value in (span.attributes or {}).items()
        if name in NAMES or isinstance(value, bool | int | float)
    }
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=kept,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _none(*_: Any, **__: Any) -> Span:
    return INVALID_SPAN


def _nothing(*_: Any, **__: Any) -> None:
    pass
