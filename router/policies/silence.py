"""Whether a target answers anybody at all.

That a caller left says nothing of a target: he may have left for reasons of his own, and that is never counted. That nobody
else was answered either, for as long as he waited, is known of the target: it hangs, or it works for those who have gone
long ago. Callers are often less patient than ``timeouts.attempt``, and then no attempt ever fails.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Protocol

from router.events import Unanswered
from router.types import Live

USUAL = 0.5
LEAST_SECONDS = 1.0
# A target is drowned if that many are overdue, and if so many answers were due: that none came then is chance once in e^10
# times. Where nobody knows how often answers come, it is after so many seconds.
MANY = 5
DUE = 10.0
DUE_SECONDS = 10.0
LOOKED_AT = 20  # of those that wait, at most: the oldest
GAP_WEIGHT = 0.1
AGAIN_AFTER, AGAIN_WITHIN = 10.0, 60.0


class Waiter(Protocol):
    """An attempt without content, and what it is compared with: streams and prompts of such a size."""

    @property
    def stream(self) -> bool: ...
    @property
    def prompt(self) -> int: ...
    @property
    def sent(self) -> float: ...


class Silence:
    """Who waits for first content of one target, and how long it has given none to anybody."""

    def __init__(self, target: str, live: Live) -> None:
        self._target = target
        self._live = live
        self._waiting: dict[Waiter, None] = {}  # the oldest first
        self._since = -math.inf  # when the first of them came, or somebody was answered
        self._gap: float | None = None  # seconds between two answers, while somebody waits; a moving average
        self._told = -math.inf

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def asked(self, one: Waiter) -> None:
        if not self._waiting:
            self._since = one.sent
        self._waiting[one] = None

    def answered(self, one: Waiter, now: float) -> None:
        """It has content."""
        del self._waiting[one]
        gap = now - self._since
        self._gap = gap if self._gap is None else self._gap + GAP_WEIGHT * (gap - self._gap)
        self._since = self._live.answered_at = now

    def over(self, one: Waiter) -> None:
        """It has failed, or what it asked for was refused: servers do that without having to work."""
        del self._waiting[one]

    def given_up(self, one: Waiter, now: float) -> Unanswered | None:
        """What was seen of the target meanwhile. None if somebody was answered since ``one`` was sent, if that silence was told
        already, or if to wait so long is usual.
        """
        del self._waiting[one]
        seconds = now - one.sent
        if self._live.answered_at > one.sent or self._told > one.sent or seconds < LEAST_SECONDS:
            return None
        usual = self._usual(one)
        if usual is not None and seconds < usual:
            return None
        silent = now - self._since
        again = (
            silent >= AGAIN_AFTER and self._live.answered_at < self._told and now - self._told < AGAIN_WITHIN + seconds
        )
        self._told = now
        waiting, in_flight = len(self._waiting) + 1, self._live.in_flight + 1
        # One that is busy with answers that have begun is not drowned, however many wait besides.
        drowned = (
            waiting * 2 >= in_flight and self._answers_were_due(silent) and self._many_are_overdue(seconds / 2, now)
        )
        return Unanswered(now, self._target, seconds, waiting, in_flight, drowned, again)

    def _answers_were_due(self, seconds: float) -> bool:
        return seconds >= (DUE_SECONDS if self._gap is None else DUE * self._gap)

    def _many_are_overdue(self, unknown: float, now: float) -> bool:
        """Besides the one that is given up; ``unknown``: what is too long where nobody knows what is usual."""
        overdue = 1
        for other in islice(self._waiting, LOOKED_AT):
            usual = self._usual(other)
            overdue += now - other.sent >= (unknown if usual is None else usual)
            if overdue >= MANY:
                return True
        return False

    def _usual(self, one: Waiter) -> float | None:
        return self._live.latency.quantile(USUAL, one.stream, one.prompt)
