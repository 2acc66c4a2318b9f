"""What is measured, what of it is a goal, and the arithmetic between samples and verdicts. Reads nothing, prints nothing."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.servers import ENVOY, GATEWAY

PLAIN, STREAMS, START = "plain", "streams", "start"
CONNECTIONS = (1, 64)
STREAM_COUNTS = (256, 1000)
MERGED = 1.1  # chunks a read, above which they did not all come one by one

Samples = dict[str, dict[str, list[float]]]
"""Figure → server → one value a round, in the order of the rounds."""


@dataclass(frozen=True, slots=True)
class Figure:
    """``under`` which load; shown with ``places`` behind the decimal point, of ``per`` such units."""

    key: str
    title: str
    under: str
    places: int
    per: float = 1.0


FIGURES = {
    PLAIN: (
        Figure("requests_per_second_c1", "thousands/s", "c=1", 2, 1000),
        Figure("requests_per_second_c64", "thousands/s", "c=64", 2, 1000),
        Figure("p50_us_c1", "p50 µs", "c=1", 0),
        Figure("added_p50_ms_c1", "added p50 ms", "c=1", 3),
        Figure("cpu_us_per_request_c1", "CPU µs/request", "c=1", 0),
        Figure("cpu_us_per_request_c64", "CPU µs/request", "c=64", 0),
    ),
    STREAMS: (
        Figure("cpu_us_per_chunk_256", "CPU µs/chunk", "256 streams", 1),
        Figure("cpu_us_per_chunk_1000", "CPU µs/chunk", "1,000 streams", 1),
        Figure("chunks_per_read_256", "chunks/read", "256 streams", 2),
        Figure("chunks_per_read_1000", "chunks/read", "1,000 streams", 2),
        Figure("stream_seconds_256", "seconds/stream", "256 streams", 2),
        Figure("stream_seconds_1000", "seconds/stream", "1,000 streams", 2),
        Figure("peak_mb_1000", "peak RSS MB", "1,000 streams", 1),
    ),
    START: (
        Figure("ready_seconds", "ready after s", "at start", 2),
        Figure("idle_mb", "RSS MB", "idle", 1),
    ),
}


@dataclass(frozen=True, slots=True)
class Goal:
    """The gateway's ``figure`` is at most (or at least) ``limit``; if ``of_envoy``, times that of Envoy."""

    figure: str
    limit: float
    at_least: bool = False
    of_envoy: bool = False


GOALS = (
    Goal("requests_per_second_c64", 0.25, at_least=True, of_envoy=True),
    Goal("requests_per_second_c1", 0.25, at_least=True, of_envoy=True),
    Goal("added_p50_ms_c1", 0.30),
    Goal("cpu_us_per_chunk_256", 1.4, of_envoy=True),
    Goal("cpu_us_per_chunk_1000", 1.4, of_envoy=True),
    Goal("idle_mb", 75),
    Goal("peak_mb_1000", 1.2, of_envoy=True),
    Goal("ready_seconds", 1.0),
)


@dataclass(frozen=True, slots=True)
class Spread:
    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread | None:
    """None of nothing."""
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Round by round, for what disturbs the machine disturbs both. A round whose base is 0 has none."""
    return [value / below for value, below in zip(values, base, strict=True) if below]


def merged(samples: Samples) -> list[int]:
    """The numbers of streams at which a server gave out its chunks merged: CPU a chunk compares little there."""
    reads = {count: samples.get(f"chunks_per_read_{count}", {}) for count in STREAM_COUNTS}
    return [count for count, of in reads.items() if any(max(values) > MERGED for values in of.values())]


def judged(goal: Goal, samples: Samples) -> tuple[Spread | None, bool | None]:
    """What the goal looks at, and whether its median meets it; None where it was not measured."""
    of = samples.get(goal.figure, {})
    values = of.get(GATEWAY, [])
    if goal.of_envoy:
        values = ratios(values, of[ENVOY]) if values and ENVOY in of else []
    measured = spread(values)
    if measured is None:
        return None, None
    return measured, measured.median >= goal.limit if goal.at_least else measured.median <= goal.limit
