"""Envoy's retry_budget: how many retries, failovers and hedges may run at once beside what else runs."""

from __future__ import annotations

from router.errors import Refused
from router.policies.retry_budget import is_displaced
from router.policy import Ending
from router.types import Attempt


class RetryConcurrencies:
    """By route: at most max(``min``, ``share`` of the attempts in flight at its targets). A retry counts from before
    its pause until its stream ends; a share rounds down, as in Envoy.
    """

    def __init__(self) -> None:
        self._running: dict[str, int] = {}

    def running(self, model: str) -> int:
        """Retries of this route that hold a slot."""
        return self._running.get(model, 0)

    def admit(self, attempt: Attempt, now: float) -> _Ticket | None:
        if attempt.after is None or is_displaced(attempt, now):
            return None
        route = attempt.route
        config = route.retry.concurrency
        if not config.enabled:
            return None
        in_flight = sum(live.in_flight for live in {target.live for target in route.targets})
        running = self._running.get(route.model, 0)
        if running + 1 > max(config.min, config.share * in_flight):
            raise Refused("concurrency_budget", final=not attempt.hedge)
        self._running[route.model] = running + 1
        return _Ticket(self._running, route.model)


class _Ticket:
    __slots__ = ("_model", "_running")

    def __init__(self, running: dict[str, int], model: str) -> None:
        self._running = running
        self._model = model

    def begun(self, seconds: float, now: float) -> None:
        pass

    def settle(self, ending: Ending, now: float) -> None:
        self._running[self._model] -= 1
