"""What results say of a target: a ``Tally`` while its breaker is closed, ``Probes`` while it is half open.

Rates are compared as quotients: 7 of 25 is 0.28, but in floats 0.28 x 25 is more than 7.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from providers import ProviderError
from providers.errors import Empty, Malformed, RateLimited, TimedOut, Truncated
from router.config import Breaker as Config
from router.measures.window import Window

CALLS, FAILURES, SLOW = range(3)
SLICES = 30
SILENT_SECONDS = 60.0
_SLOW_FAILURES = (TimedOut, Truncated, Malformed, Empty)


class Counts(NamedTuple):
    calls: int = 0
    failures: int = 0
    slow: int = 0


def is_slow(failure: ProviderError | None) -> bool:
    """Whether it counts as a slow call besides: there was a connection, and no whole answer came of it."""
    return isinstance(failure, _SLOW_FAILURES) and getattr(failure, "phase", "") != "connect"


class Tally:
    """Of the latest ``config.window`` seconds, and of how many hard failures there were in a row. ``latest`` is whoever had the
    latest success.
    """

    __slots__ = ("in_a_row", "latest", "window")

    def __init__(self, config: Config) -> None:
        self.window = Window(config.window, SLICES, 3)
        self.in_a_row = 0
        self.latest: object = None

    def answered(self, now: float) -> None:
        """A request that was refused for its own faults: the target is there. That ends no row of failures."""
        self.window.add(now, CALLS)

    def failed(self, failure: ProviderError | None, *, slow: bool, now: float) -> None:
        """A rate limit is no hard failure: it counts in the rate, and neither lengthens nor ends a row."""
        window = self.window
        window.add(now, CALLS)
        window.add(now, FAILURES)
        if slow:
            window.add(now, SLOW)
        if not isinstance(failure, RateLimited):
            self.in_a_row += 1

    def counts(self, now: float) -> Counts:
        self.window.advance(now)
        return Counts(*self.window.totals)

    def verdict(self, config: Config, now: float) -> str | None:
        """Why to open; None if there is no reason to."""
        if self.in_a_row >= config.consecutive:
            return f"{self.in_a_row} failures in a row"
        calls, failures, slow = self.counts(now)
        if calls < config.min_calls:
            return None
        if failures / calls >= config.failure_rate:
            return f"{failures} of {calls} calls failed"
        if slow / calls >= config.slow_rate:
            return f"{slow} of {calls} calls were slow"
        return None


class Probes:
    """Permits for ``of`` results in all. ``granted``, which are those out, and ``results`` together never exceed that."""

    __slots__ = ("asked", "failures", "granted", "of", "results", "slow")

    def __init__(self, of: int) -> None:
        self.of = of
        self.granted = self.results = self.failures = self.slow = 0
        self.asked = -math.inf

    @property
    def has_room(self) -> bool:
        return self.granted + self.results < self.of

    def grant(self, now: float) -> None:
        self.granted += 1
        self.asked = now

    def release(self) -> None:
        """It said nothing: the permit is for the next."""
        self.granted -= 1

    def record(self, *, failed: bool, slow: bool) -> None:
        self.granted -= 1
        self.results += 1
        self.failures += failed
        self.slow += slow

    def is_silent(self, now: float) -> bool:
        """Some have been asked, and for long none has been, nor have they all answered. While traffic is merely thin, nobody
        is waited for.
        """
        return self.granted > 0 and now - self.asked >= SILENT_SECONDS

    def counts(self) -> Counts:
        return Counts(self.results, self.failures, self.slow)

    def verdict(self, config: Config) -> str | None:
        """Of results that are complete: why to open again; None if there is no reason to."""
        if self.failures / self.results >= config.failure_rate:
            return f"{self.failures} of {self.results} probes failed"
        if self.slow / self.results >= config.slow_rate:
            return f"{self.slow} of {self.results} probes were slow"
        return None
