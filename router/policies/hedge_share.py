"""How many calls of a route may be hedged, and none at a target that turns calls away already."""

from __future__ import annotations

from router.config import RetryBudget
from router.errors import Refused
from router.policies.retry_budget import TokenBudget, Withdrawal
from router.policies.throttle import Throttle
from router.policy import Ending, Ticket
from router.types import Attempt

# Long enough that one in twenty can be hedged where there is a request every other second.
REMEMBERED_SECONDS = 60.0


class HedgeShare:
    """Per route, counted as Finagle counts retries; the first hedge is free. Of other attempts it counts the first, if it
    is sent.
    """

    def __init__(self) -> None:
        self._shares: dict[str, _Share] = {}

    def admit(self, attempt: Attempt, now: float) -> Ticket | None:
        hedge = attempt.route.hedge
        if hedge is None:
            return None
        share = self._shares.get(attempt.route.model)
        if share is None:
            share = self._shares[attempt.route.model] = _Share(hedge.max_share)
        budget = share.budget
        if not attempt.hedge:
            if attempt.number > 1:
                return None
            budget.deposit(now)  # at once: the hedge of this very call may need it
            return share
        throttle = attempt.target.live.guard(Throttle)
        if throttle is not None and throttle.share(now) > 0:
            raise Refused("hedge_throttled")
        if not budget.try_withdraw(now):
            raise Refused("hedge_share")
        return Withdrawal(budget, now)


class _Share:
    """One route's budget. It is the ticket of all its first attempts: there is nothing to remember of one."""

    __slots__ = ("budget",)

    def __init__(self, max_share: float) -> None:
        config = RetryBudget(ratio=max_share, min_per_second=0.0, ttl=REMEMBERED_SECONDS)
        self.budget = TokenBudget(config, burst=1)

    def begun(self, seconds: float, now: float) -> None:
        pass

    def settle(self, ending: Ending, now: float) -> None:
        if not ending.sent:
            self.budget.take_back(now)
