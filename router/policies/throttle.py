"""Turns calls away from a target by the share that it turns away itself, before it has to.

Envoy's admission control, for overload only: what else fails is a matter for the breaker. As there, and unlike Google's
client-side throttling, the estimate rests on what was sent. A call turned away here says nothing of the target: counted
as not accepted, with a threshold above a half, it keeps the share up for minutes after the target has recovered.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

from router import config
from router.errors import Refused
from router.measures.window import Window
from router.policies.overload import overloaded
from router.policy import Ending, Ticket
from router.select.chance import unit
from router.types import Attempt, Call

THROTTLED = "throttled"
SLICES = 30
CALLS, OVERLOADS, TURNED_AWAY = range(3)  # the last in thousandths


class Throttle:
    """A call counts when it is known whether the target took it: at its first content, or at its end if that comes
    first. Counted when sent, slow answers would look like refusals.
    """

    name = "throttle"

    def __init__(self, settings: config.Throttle, target: str = "") -> None:
        self._target = target
        self._enabled = settings.enabled
        self._seconds = settings.window
        self._threshold = settings.threshold
        self._most = settings.max_rejection
        self._least_calls = settings.min_per_second * settings.window
        self._window = Window(settings.window, SLICES, 3)
        self._until = -inf  # by then the last overload is forgotten

    def refusal(self, call: Call, now: float) -> str | None:
        if now >= self._until:
            return None
        return THROTTLED if self._turns_away(call, now) else None

    def admit(self, attempt: Attempt, now: float) -> Ticket | None:
        if not self._enabled:
            return None
        if now < self._until and not attempt.forced and self._turns_away(attempt.call, now):
            raise Refused(THROTTLED)
        return self

    def begun(self, seconds: float, now: float) -> None:
        self._count(overload=False, now=now)

    def settle(self, ending: Ending, now: float) -> None:
        """It is its own ticket: there is nothing to remember of an attempt."""
        if ending.silent:
            self._count(overload=overloaded(ending), now=now)

    def until(self, now: float) -> float | None:
        """Unknown: as soon as less is turned away by the target."""
        return None

    def share(self, now: float) -> float:
        """Of all calls, what is turned away now: 0 to ``max_rejection``."""
        if now >= self._until:
            return 0.0
        self._window.advance(now)
        calls, overloads, turned_away = self._window.totals
        if calls + turned_away / 1000 < self._least_calls:
            return 0.0
        return min(self._most, max(0.0, (calls - (calls - overloads) / self._threshold) / (calls + 1)))

    def describe(self, now: float) -> Mapping[str, Any]:
        self._window.advance(now)
        calls, overloads, _ = self._window.totals
        return {"enabled": self._enabled, "share": self.share(now), "calls": calls, "overloads": overloads}

    def _count(self, *, overload: bool, now: float) -> None:
        """The target took a call, or met overload with it."""
        if now < self._until:
            # For each call that came through, so many did not: enough to know how many there are to turn away.
            share = self.share(now)
            self._window.add(now, TURNED_AWAY, round(1000 * share / (1.0 - share)))
        self._window.add(now, CALLS)
        if overload:
            self._window.add(now, OVERLOADS)
            self._until = now + self._seconds

    def _turns_away(self, call: Call, now: float) -> bool:
        """Always the same for a call in the same window, so that looking twice does not refuse twice as much."""
        share = self.share(now)
        return share > 0.0 and unit(0, call.request.id, f"throttle {self._target} {int(now / self._seconds)}") < share
