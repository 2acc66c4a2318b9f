"""How a simulated server works: data, not code."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from providers.law import Law
from router.sim.levels import Levels

NOTHING = Law("constant", 0.0)


class Cancelled(StrEnum):
    """What a server does for a caller who has gone: all the same, as most do; or nothing more."""

    WORKS_ON = "works_on"
    STOPS = "stops"


@dataclass(frozen=True, slots=True)
class Service:
    """Times in seconds. Raises ValueError that names the field.

    ``rate``: one call after the other, so many a second, each then answered after ``ttft`` and its tokens. ``slots``: so many
    at once, each for as long as its whole answer takes. Neither: all at once. First come, first served; beyond ``queue``
    that wait (None: no end) the answer is 503 with ``retry_after``.
    ``tokens`` of an answer: None for as many as its client allows (1 if it says nothing), else the smaller of both; ``token_interval``
    is drawn once an answer. ``chunks``: in how many pieces a stream brings its tokens, and in more where it would be silent for over 5 s between two.
    ``slowdown``: by what share of itself all takes longer for each call beyond ``unhurried`` that runs when it begins.
    ``capacity``: how fast it is, as a share of what it is at 1; at 0 it stands still, and what has begun waits with the rest.
    ``patience``: how long callers wait; what could not be finished by then is left out. None: nothing is.
    ``requests_per_minute`` and ``tokens_per_minute`` (prompt and answer) count by whole minutes; beyond them it answers 429
    until the next. ``error_rate`` of the calls are answered with ``error_status``, at once.
    """

    rate: float | None = None
    slots: int | None = None
    queue: int | None = None
    retry_after: float = 1.0
    ttft: Law = NOTHING
    token_interval: Law = NOTHING
    tokens: Law | None = None
    chunks: int = 1
    slowdown: float = 0.0
    unhurried: int = 1
    capacity: Levels = field(default_factory=lambda: Levels.steps((-math.inf, 1.0)))
    cancelled: Cancelled = Cancelled.WORKS_ON
    patience: float | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    error_rate: float = 0.0
    error_status: int = 500

    def __post_init__(self) -> None:
        if self.rate is not None and self.slots is not None:
            raise ValueError("rate, slots: give one; rate is one call after the other, slots so many at once")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise ValueError("rate: must be above 0; for a server that stands still set capacity to 0")
        for name in ("slots", "chunks", "unhurried", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: must be at least 1")
        for name in ("queue", "retry_after", "slowdown", "patience"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name}: must be at least 0")
        if self.queue is not None and self.rate is None and self.slots is None:
            raise ValueError("queue: nobody waits where all are served at once; give rate or slots, too")
        if not 0 <= self.error_rate <= 1:
            raise ValueError("error_rate: must be between 0 and 1")
        if not 500 <= self.error_status <= 599:
            raise ValueError("error_status: must be between 500 and 599")
