"""Strands makes spans only where something collects them."""

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize(("before", "written"), [("", False), (COLLECTED, True)])
def test_a_conversation_goes_into_spans_only_where_a_collector_is_set_up(before: str, written: bool) -> None:
    done = subprocess.run([sys.executable, "-c", before + SPAN], capture_output=True, text=True, check=True)
    assert ("written" in done.stdout) == written, done.stderr
