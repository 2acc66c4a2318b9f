"""How many calls of a route may be hedged, and none at a target that turns calls away already."""

from __future__ import annotations

from router.config import RetryBudget
from router.errors import Refused
from router.policies.retry_budget import TokenBudget
from router.policies.throttle import Throttle
from router.policy import Ending, Ticket
from router.types import Attempt

# Long enough that one in twenty can be hedged where there is a request every other second.
REMEMBERED_SECONDS = 60.0


class HedgeShare:
    """Per route, counted as Finagle counts retries; the first hedge is free. Of other attempts it counts the first."""

    def __init__(self) -> None:
        self._budgets: dict[str, TokenBudget] = {}

    def admit(self, attempt: Attempt, now: float) -> Ticket | None:
        hedge = attempt.route.hedge
        if hedge is None:
            return None
        budget = self._budgets.get(attempt.route.model)
        if budget is None:
            budget = TokenBudget(
                RetryBudget(ratio=hedge.max_share, min_per_second=0.0, ttl=REMEMBERED_SECONDS), burst=1
            )
            self._budgets[attempt.route.model] = budget
        if not attempt.hedge:
            if attempt.number == 1:
                budget.deposit(now)
            return None
        throttle = attempt.target.live.guard(Throttle)
        if throttle is not None and throttle.share(now) > 0:
            raise Refused("hedge_throttled")
        if not budget.try_withdraw(now):
            raise Refused("hedge_share")
        return _Hedged(budget, now)


class _Hedged:
    __slots__ = ("_at", "_budget")

    def __init__(self, budget: TokenBudget, at: float) -> None:
        self._at = at
        self._budget = budget

    def begun(self, seconds: float, now: float) -> None:
        pass

    def settle(self, ending: Ending, now: float) -> None:
        if not ending.sent:
            self._budget.refund(self._at, now)
