"""The goals and the tables: what the figures of a round mean, and whether they are reached.

Owns names, formulas and bounds; measures nothing. Every ratio is taken inside one round, then the median of
the rounds.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan, nan

from bench.load import LONG, SHORT, Numbers

Formula = Callable[[Numbers], float]


@dataclass(frozen=True)
class Goal:
    """One line of the table: a formula over the figures of a round, and its bound."""

    name: str
    formula: Formula
    bound: float
    at_least: bool = False

    def value(self, rounds: Sequence[Numbers]) -> float:
        """The median over the rounds that have it; NaN when none has."""
        seen = [self.formula(figures) for figures in rounds]
        return statistics.median(kept) if (kept := [value for value in seen if not isnan(value)]) else nan

    def reached(self, value: float) -> bool:
        """Whether a value is within the bound; NaN never is."""
        return value >= self.bound if self.at_least else value <= self.bound


def figure(name: str) -> Formula:
    """A figure as it was measured."""
    return lambda figures: figures.get(name, nan)


def ratio(above: str, below: str) -> Formula:
    """One figure in units of another of the same round."""
    return lambda figures: figures.get(above, nan) / (figures.get(below, nan) or nan)


def grown(*names: str) -> Formula:
    """The largest growth among several counts."""
    return lambda figures: max(figures.get(f"leak.{name}_growth", nan) for name in names)


def token_us(name: str) -> Formula:
    """What one more token costs, in microseconds of CPU: from replies of two lengths."""

    def formula(figures: Numbers) -> float:
        short, long = (figures.get(f"{name}.{what}.cpu_ms_per_1000", nan) for what in ("ceiling", "long"))
        return (long * LONG - short * SHORT) / (LONG - SHORT)

    return formula


def chat_ms(name: str) -> Formula:
    """What a chat costs beside its tokens, in milliseconds of CPU."""
    per_token = token_us(name)
    return lambda figures: (figures.get(f"{name}.{CPU}", nan) - per_token(figures)) * SHORT / 1000


def ratio_at(tokens: int) -> Formula:
    """CPU of replies of so many tokens, x limit, from the costs of a chat and of a token."""

    def formula(figures: Numbers) -> float:
        ours, limit = (
            chat_ms(name)(figures) * 1000 + token_us(name)(figures) * tokens for name in ("ollama", "limit")
        )
        return ours / limit

    return formula


CPU, RATE = "ceiling.cpu_ms_per_1000", "ceiling.tokens_per_s"
GOALS = (
    Goal(
        "CPU per token at 50 streams of 20 tokens/s, Redis' with it, x limit",
        ratio("paced.ollama.50x20.all_us", "paced.limit.50x20.cpu_us"),
        1.8,
    ),
    Goal("the same at 200 streams", ratio("paced.ollama.200x20.all_us", "paced.limit.200x20.cpu_us"), 1.8),
    Goal("a token late at 200 streams, p99 ms", figure("paced.ollama.200x20.late_p99"), 15),
    Goal("CPU of replies of 200 tokens at the ceiling, x limit", ratio_at(200), 2.5),
    Goal(
        "CPU per token at the ceiling, replies of 300, x naive", ratio(f"ollama.{CPU}", f"naive.{CPU}"), 0.05
    ),
    Goal("the same with an OpenAI-compatible server, x Ollama", ratio(f"openai.{CPU}", f"ollama.{CPU}"), 1.2),
    Goal("tokens/s of one process, x limit", ratio(f"ollama.{RATE}", f"limit.{RATE}"), 0.4, at_least=True),
    Goal("tokens/s of one process, x naive", ratio(f"ollama.{RATE}", f"naive.{RATE}"), 15, at_least=True),
    Goal("time to first token, one chat, p50, x limit", ratio("first.ollama.p50", "first.limit.p50"), 3),
    Goal("time to first token, one chat, p50, x naive", ratio("first.ollama.p50", "first.naive.p50"), 0.08),
    Goal(
        "time to first token beside 50 paced chats, p95, x limit",
        ratio("beside.ollama.p95", "beside.limit.p95"),
        5,
    ),
    Goal(
        "streams at 20 tokens/s, p99 gap < 100 ms, x limit",
        ratio("ollama.paced.streams", "limit.paced.streams"),
        0.75,
        at_least=True,
    ),
    Goal("stop through Nginx with three, p50 ms", figure("stop.nginx.p50"), 2.5),
    Goal("stop through Nginx with three, p99 ms", figure("stop.nginx.p99"), 8),
    Goal("model's connection closed, p99 ms", figure("stop.nginx.closed_p99"), 12),
    Goal("tokens to the reader after the stop, mean", figure("stop.nginx.tokens_after_mean"), 0.25),
    Goal("tokens to the reader after the stop, most", figure("stop.nginx.tokens_after_max"), 1),
    Goal("stop of a silent model, p99 ms", figure("stop.silent.p99"), 10),
    Goal("stop beside 100 streams at 50 tokens/s, p99 ms", figure("stop.load100.p99"), 20),
    Goal("the same, tokens to the reader after it, most", figure("stop.load100.tokens_after_max"), 1),
    Goal("stop beside 400 streams at 50 tokens/s, p99 ms", figure("stop.load400.p99"), 100),
    Goal("model calls alive 6 s after stop or disconnect", figure("alive.alive"), 0),
    Goal("memory per live stream, MB", figure("footprint.mb_per_stream"), 0.08),
    Goal("process at rest, MB", figure("footprint.idle_mb"), 110),
    Goal("start to healthy, s", figure("footprint.start_s"), 1.5),
    Goal("first chat after the start, ms to its first token", figure("footprint.first_chat_ms"), 50),
    Goal("Redis commands of a reply of 200 tokens at 20 tokens/s", figure("storage.commands"), 650),
    Goal("bytes of its append-only file for it", figure("storage.file_bytes"), 17_000),
    Goal("Redis commands per idle live stream and second", figure("footprint.redis_per_stream_s"), 0.4),
    Goal(
        "growth over the leak check: tasks, threads, Redis clients",
        grown("tasks", "threads", "redis_clients"),
        0,
    ),
    Goal("growth over the leak check: descriptors (kept connections come and go)", grown("descriptors"), 5),
    Goal("growth over the leak check: memory, MB", grown("rss_mb"), 3),
    Goal(
        "three behind Nginx, tokens/s, x naive",
        ratio("three.product.tokens_per_s", "three.naive.tokens_per_s"),
        10,
        True,
    ),
)

_SYSTEMS = (
    ("limit: bare proxy", "limit", "", ""),
    ("naive service", "naive", "naive.stop", "naive.silent"),
    ("**this, Ollama**", "ollama", "stop.same", "stop.silent"),
    ("**this, Bedrock**", "bedrock", "stop.bedrock", ""),
)


def _shown(value: float) -> str:
    if isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def goal_table(rounds: Sequence[Numbers]) -> list[str]:
    """Markdown: every goal with its value."""
    lines = ["| | measured | goal | |", "|---|---|---|---|"]
    for goal in GOALS:
        value = goal.value(rounds)
        mark = "–" if isnan(value) else "reached" if goal.reached(value) else "**missed**"
        lines.append(
            f"| {goal.name} | {_shown(value)} | {'≥' if goal.at_least else '≤'} {goal.bound:g} | {mark} |"
        )
    return lines


def system_table(rounds: Sequence[Numbers]) -> list[str]:
    """Markdown: the systems side by side."""

    def cell(formula: Formula) -> str:
        return _shown(Goal("", formula, 0).value(rounds))

    lines = [
        "| | CPU ms per 1000 tokens | x limit | of it per token, µs | per chat, ms | "
        "tokens/s | first token, ms "
        "| streams at 20 tokens/s | MB per stream "
        "| stop p50 / p99, ms | silent model p50, ms |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for title, name, stop, silent in _SYSTEMS:
        cells = [
            cell(figure(f"{name}.{CPU}")),
            cell(ratio(f"{name}.{CPU}", f"limit.{CPU}")),
            cell(token_us(name)),
            cell(chat_ms(name)),
            cell(figure(f"{name}.{RATE}")),
            cell(figure(f"first.{name}.p50")),
            cell(figure(f"{name}.paced.streams")),
            cell(figure(f"{name}.memory.mb_per_stream")),
            f"{cell(figure(f'{stop}.p50'))} / {cell(figure(f'{stop}.p99'))}" if stop else "–",
            cell(figure(f"{silent}.p50")),
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def length_table(rounds: Sequence[Numbers]) -> list[str]:
    """Markdown: the ratio to the limit for other lengths of a reply, from the costs of chat and token."""

    lengths = (100, 200, 300, 1000, 3000)
    cells = [_shown(Goal("", ratio_at(tokens), 0).value(rounds)) for tokens in lengths]
    return [
        f"| tokens per reply | {' | '.join(map(str, lengths))} |",
        f"|---|{'---|' * len(lengths)}",
        f"| CPU, x limit (Ollama) | {' | '.join(cells)} |",
    ]
