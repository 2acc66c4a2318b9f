"""Counts what each target is doing. Refuses nothing; readiness and, later, other policies read the counts."""

from __future__ import annotations

from providers import Outcome
from router.policy import Settle
from router.types import Attempt, Live


class InFlight:
    def admit(self, attempt: Attempt, now: float) -> Settle:
        live = attempt.target.live
        live.in_flight += 1
        return _Ticket(live)


class _Ticket:
    __slots__ = ("_live",)

    def __init__(self, live: Live) -> None:
        self._live = live

    def __call__(self, outcome: Outcome, now: float) -> None:
        live = self._live
        live.in_flight -= 1
        if outcome is Outcome.OK:
            live.failures = 0
            live.last_failure = None
        elif outcome is not Outcome.IGNORED:
            live.failures += 1
            live.last_failure = outcome.value
