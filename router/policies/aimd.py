"""Additive increase, multiplicative decrease: a limit found by overload alone, for targets that say when it is too much.

Pure arithmetic (Netflix concurrency-limits ``AIMDLimit``, TCP's rounds). ``load`` is what was in flight with the attempt,
itself included.
"""

from __future__ import annotations

from math import inf

LOWER = 0.9
LATE = 0.1  # of the usual growth: none at all, and a target whose answers are merely long would be kept low for ever


class Aimd:
    """``limit`` and all weights in requests of typical size. ``slow_start``: until the first overload it grows by what
    succeeds, which doubles it with each limit-ful; after that, by one request for each limit-ful. After a restart it doubles
    only up to what it is known to bear (TCP's ssthresh): who comes back from a failure is met by a crowd.
    """

    __slots__ = ("_borne", "_least", "_lowered", "_most", "_row", "_threshold", "limit", "slow_start")

    def __init__(self, limit: float, least: float, most: float, *, slow_start: bool) -> None:
        self.limit = min(most, max(least, limit))
        self._least = least
        self._most = most
        self.slow_start = slow_start
        self._lowered = -inf
        self._borne = 0.0
        self._row: tuple[float, float] | None = None  # of refusals: what was in flight, and borne, when it began
        self._threshold = inf

    @property
    def doubling(self) -> bool:
        return self.slow_start and self.limit < self._threshold

    def began(
        self,
        weight: float,
        load: float,
        prompt: int | None,
        seconds: float,
        allowed: float = inf,
        started: float = inf,
    ) -> None:
        """An attempt of ``weight`` has its first content, after ``seconds`` of those ``allowed``. Nothing is learnt while less
        than half of the limit is used: what was not tried has not succeeded. One that took over half of its time bears
        witness to no such load: with twice as much it would have failed.
        """
        self.answered(started)
        late = seconds * 2.0 > allowed
        if not late:
            self._borne = max(self._borne, load)
        if load * 2.0 >= self.limit:
            more = weight
            if not self.doubling:
                more *= (LATE if late else 1.0) / self.limit
            self.limit = min(self._most, self.limit + more)

    def refused(self, load: float, started: float, now: float) -> None:
        """An attempt was turned away as too much, as by ``overload``; but a row of those without an answer to anything that was sent
        between them is an outage, and teaches no more than the first.
        """
        if self._row is None:
            self._row = min(self.limit, load), self._borne
        self._lower(load, started, now, LOWER)

    def overload(self, load: float, started: float, now: float, left: float = LOWER) -> None:
        """An attempt met overload: ``left`` is that share of the limit. One that ``started`` before the limit was last lowered
        tells nothing new.
        """
        self._row = None
        self._lower(load, started, now, left)

    def _lower(self, load: float, started: float, now: float, left: float) -> None:
        if started > self._lowered:
            self.limit = max(self._least, min(self.limit, load) * left)
            self._lowered = now
            self.slow_start = False
            self._borne = min(self._borne, self.limit / 2.0)

    def answered(self, started: float) -> None:
        """Ends a row of refusals, if it was sent after them: back by doubling to what a single one would have left."""
        if self._row is not None and started > self._lowered:
            before, borne = self._row
            self._row = None
            self._borne = max(self._borne, min(borne, before * LOWER))
            if self.limit < before * LOWER:
                self.slow_start = True
                self._threshold = before * LOWER

    def doubled(self) -> float:
        """What a round of slow start makes of the limit."""
        return min(self.limit * 2.0, max(self.limit, self._threshold))

    def forgive(self, limit: float) -> None:
        """What lowered it from ``limit`` is over."""
        self.limit = max(self.limit, limit)

    def restart(self, limit: float) -> None:
        """Begin anew from ``limit``, by slow start, where that is less than what is known."""
        self.limit = min(self.limit, max(self._least, limit))
        self.slow_start = True
        self._threshold = max(self.limit, self._borne) if self._borne else inf
