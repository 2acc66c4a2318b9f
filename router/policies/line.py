"""Those who wait for the same room: their order, and what a newcomer may expect.

FIFO, and LIFO while a queue stands (Facebook, "Fail at Scale"): when some will be turned away anyway, serve those whose
clients have not given up. Whether it stands is asked for each priority apart; those that wait below it do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import exp, inf
from typing import Any

from router.types import Call, Priority

# Facebook's N and M (100 ms and 5 ms), scaled from short calls to times to first token.
STANDS_AFTER = 1.0
TARGET = 0.05
# Under overload a queue is empty for a moment now and then. So the share of the time counts in which it is not, averaged over
# N; this is what a queue reaches after N that is never empty.
STANDING = 1.0 - exp(-1.0)
FORGOTTEN = 0.01
# Nobody waits for longer than so many times the target, N at least: whoever does, waits in a queue that stands. With half of
# it, twice as many that will not be served take a place in the queue and hear of it late; so 98 of 100 refusals at 3 x
# capacity leave at once (tests/sim/test_shedding.py).
PATIENCE = 20.0
# The rate of draining is averaged over so many seconds, but over so many calls at least: where little moves it takes longer.
MEMORY = 5.0
ENOUGH = 10.0


class Waiter:
    """One call in a queue. ``arrived`` and ``expires`` are on the loop's clock. ``called``: it may go, but has not taken its
    room yet, so it keeps its place.
    """

    __slots__ = ("arrived", "call", "called", "expires", "has_room", "line", "priority", "tokens")

    def __init__(
        self, call: Call, line: Line, tokens: int, has_room: Callable[[], bool], arrived: float, expires: float
    ) -> None:
        self.call = call
        self.priority = call.priority
        self.line = line
        self.tokens = tokens
        self.has_room = has_room
        self.arrived = arrived
        self.expires = expires
        self.called = False


class Line:
    """``standing_since`` None: the queue, all priorities together, does not stand."""

    __slots__ = ("_bands", "_busy", "_drained", "_filled", "_stamp", "standing_since")

    def __init__(self) -> None:
        self.standing_since: float | None = None
        self._bands: list[dict[Waiter, None]] = [{} for _ in Priority]  # each ordered by arrival
        self._filled = [0.0 for _ in Priority]  # share of the time that someone of this priority or above it waited
        self._drained = self._busy = self._stamp = 0.0

    def join(self, waiter: Waiter) -> None:
        self._tick(waiter.arrived)
        self._bands[waiter.priority][waiter] = None

    def leave(self, waiter: Waiter, now: float, *, served: bool) -> None:
        self._tick(now)
        del self._bands[waiter.priority][waiter]
        self._drained += served

    def ahead(self, priority: int) -> int:
        """How many wait of ``priority`` or a higher one."""
        return sum(map(len, self._bands[priority:]))

    def waiting(self, priority: int) -> int:
        return len(self._bands[priority])

    def first(self, priority: int, now: float) -> Waiter | None:
        """Who of ``priority`` goes next."""
        band = self._bands[priority]
        order: Iterable[Waiter] = reversed(band) if band and self.stands(priority, now) else band
        return next((waiter for waiter in order if not waiter.called), None)

    def newest(self, priority: int) -> Waiter | None:
        return next((waiter for waiter in reversed(self._bands[priority]) if not waiter.called), None)

    def stands(self, priority: int, now: float) -> bool:
        """The queue of ``priority`` and above is there for longer than a burst takes to drain."""
        self._tick(now)
        return self._filled[priority] >= STANDING

    def forgotten(self, now: float) -> bool:
        """Nobody waits, and nothing is left to remember."""
        self._tick(now)
        return not self.ahead(Priority.BATCH) and self._filled[Priority.BATCH] < FORGOTTEN

    def rate(self, now: float) -> float:
        """Calls a second that went from the queue to an upstream, of late: the mean of what it may be, given what was
        counted (Poisson, flat prior). Infinite while nothing is known; it falls as long as nothing moves.
        """
        self._tick(now)
        return (self._drained + 1.0) / self._busy if self._busy else inf

    def target(self, now: float) -> float:
        """Seconds that a newcomer to a standing queue may expect to wait: at least what one takes to drain, or nobody could
        wait (CoDel never drops the last packet either, RFC 8289).
        """
        return max(TARGET, 1.0 / self.rate(now))

    def due(self, waiter: Waiter, now: float) -> float:
        """When the time of ``waiter`` is over, as far as is known now."""
        return min(waiter.expires, waiter.arrived + PATIENCE * self.target(now))

    def describe(self, now: float) -> Mapping[str, Any]:
        rate = self.rate(now)
        return {
            "waiting": self.ahead(Priority.BATCH),
            "drained_per_second": rate if rate < inf else None,
            "standing_since": self.standing_since,
        }

    def _tick(self, now: float) -> None:
        past = now - self._stamp
        if past <= 0.0:
            return
        self._stamp = now
        kept = exp(-past / STANDS_AFTER)
        for priority, share in enumerate(self._filled):
            self._filled[priority] = share * kept + (1.0 - kept if self.ahead(priority) else 0.0)
        if self._filled[Priority.BATCH] < STANDING:
            self.standing_since = None
        elif self.standing_since is None:
            self.standing_since = now
        waited = past if self.ahead(Priority.BATCH) else 0.0
        if self._drained > ENOUGH:
            kept = exp(-past / MEMORY)
            self._drained *= kept
            self._busy *= kept
            waited *= MEMORY * (1.0 - kept) / past
        self._busy += waited
