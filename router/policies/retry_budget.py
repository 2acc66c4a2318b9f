"""How many retries first attempts pay for: Finagle's RetryBudget, and a small burst for a gateway with little traffic.

Every first attempt deposits a little at its target; every retry, failover or hedge withdraws at the target that it
follows, in its failure or its silence. Both are forgotten after ``ttl``.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, inf
from typing import Any

from router.config import RetryBudget
from router.errors import Refused
from router.policy import Ending, Ticket
from router.types import Attempt, Call, Live

SCALE = 1000  # Finagle's ScaleFactor: a deposit, so that whole numbers are enough
SLICES = 10


class TokenBudget:
    """A withdrawal costs 1 / ``ratio`` deposits; ``min_per_second`` * ``ttl`` are free; what is deposited and what is
    withdrawn expires together with its slice, a tenth of ``ttl``. With ``burst`` 0 that is Finagle's, and all of it.

    The burst is ours: with no free withdrawals a lone first failure could never fail over (gRPC and AWS start with full
    buckets, Envoy lets three run). It is a floor and comes on top of nothing: so many may be withdrawn whatever the window
    holds, and whoever the window pays for is one of them. It is whole again once nobody has asked for ``ttl`` seconds.
    With no free withdrawals that bounds what is withdrawn, refunds taken off:

    - since the start, while the need never pauses for ``ttl``: ratio * deposits + burst at most. No deposit pays twice,
      since what it has paid for expires after it; and the burst does not come back.
    - in any ``ttl``: ratio * deposits of it and of the ``ttl`` before + burst at most, since bursts lie ``ttl`` apart.

    The cost is rounded up where Finagle rounds down, so that no ratio is exceeded.
    """

    __slots__ = (
        "_burst",
        "_cost",
        "_deposit",
        "_left",
        "_needed",
        "_pace",
        "_reserve",
        "_slice",
        "_slices",
        "_sum",
        "_ttl",
    )

    def __init__(self, config: RetryBudget, burst: int = 0) -> None:
        self._deposit = SCALE if config.ratio > 0 else 0
        self._cost = ceil(SCALE / config.ratio) if config.ratio > 0 else 1
        self._reserve = int(config.min_per_second * config.ttl * self._cost)
        self._ttl = config.ttl
        self._pace = SLICES / config.ttl
        self._slices = [0] * SLICES
        self._slice = 0  # counted from the start of the clock
        self._sum = 0
        self._burst = self._left = burst
        self._needed = -inf

    def deposit(self, now: float) -> None:
        """A first attempt."""
        place = int(now * self._pace)
        if place != self._slice:
            self._turn(place)
        self._slices[place % SLICES] += self._deposit
        self._sum += self._deposit

    def take_back(self, now: float) -> None:
        """The first attempt that has just been paid in was never sent."""
        self._change(-self._deposit, now, now)

    def try_withdraw(self, now: float) -> bool:
        """May there be a retry? If so, it is paid for."""
        self._turn(int(now * self._pace))
        left = self._burst_left(now)
        self._needed = now
        self._left = max(0, left - 1)
        if self._sum + self._reserve >= self._cost:
            self._change(-self._cost, now, now)
            return True
        return left > 0

    def refund(self, withdrawn: float, now: float) -> None:
        """The retry that was paid for at ``withdrawn`` was never sent. What the burst paid comes back to the window."""
        self._change(self._cost, withdrawn, now)

    def balance(self, now: float) -> int:
        """How many retries could be paid for now."""
        self._turn(int(now * self._pace))
        return max((self._sum + self._reserve) // self._cost, self._burst_left(now))

    def _burst_left(self, now: float) -> int:
        return self._burst if now - self._needed >= self._ttl else self._left

    def _change(self, amount: int, at: float, now: float) -> None:
        """In the slice of ``at``, as if it had been so from the first. If that has expired, nothing changes."""
        self._turn(int(now * self._pace))
        place = int(at * self._pace)
        if self._slice - place < SLICES:
            self._slices[place % SLICES] += amount
            self._sum += amount

    def _turn(self, current: int) -> None:
        """Forget the slices that have expired."""
        for place in range(self._slice + 1, min(current, self._slice + SLICES) + 1):
            self._sum -= self._slices[place % SLICES]
            self._slices[place % SLICES] = 0
        self._slice = current


class Purse:
    """Guard of one target: its budget. Comes after those that may refuse, so that what it sees is sent."""

    name = "retry_budget"

    def __init__(self, config: RetryBudget) -> None:
        self.budget = TokenBudget(config, config.burst)
        self.enabled = config.enabled

    def refusal(self, call: Call, now: float) -> str | None:
        return None

    def admit(self, attempt: Attempt, now: float) -> None:
        """A client's own retry is no original (SRE ch. 21): it deposits nothing."""
        if attempt.after is None and not attempt.call.retries:
            self.budget.deposit(now)

    def until(self, now: float) -> float | None:
        return None

    def describe(self, now: float) -> Mapping[str, Any]:
        return {"enabled": self.enabled, "remaining": self.budget.balance(now)}


def is_displaced(attempt: Attempt, now: float) -> bool:
    """It goes elsewhere, to a target that has not failed for as long as a budget remembers.

    That is no amplification: it is the load that this target gets as soon as the breaker of the one that failed is open.
    Without it, whatever is in flight at a target that dies would be lost but for the few that a budget pays for.
    """
    after, target = attempt.after, attempt.target
    if after is None or attempt.hedge or after.live is target.live:
        return False
    return now - target.live.failed_at >= attempt.route.retry.budget.ttl


class RetryBudgets:
    """The rule: what follows a failure, or a silence, is paid for by the target that it follows, unless it is only displaced."""

    def admit(self, attempt: Attempt, now: float) -> Ticket | None:
        purse = None if attempt.after is None or is_displaced(attempt, now) else attempt.after.live.guard(Purse)
        if purse is None or not purse.enabled:
            return None
        if not purse.budget.try_withdraw(now):
            raise Refused("rate_budget", final=not attempt.hedge)
        return Withdrawal(purse.budget, now)

    @staticmethod
    def balance_of(live: Live, now: float) -> int | None:
        """How many retries could follow failures of this target now; None if nobody counts them."""
        purse = live.guard(Purse)
        return None if purse is None or not purse.enabled else purse.budget.balance(now)


class Withdrawal:
    """What was paid at ``at`` goes back if the attempt was never sent."""

    __slots__ = ("_at", "_budget")

    def __init__(self, budget: TokenBudget, at: float) -> None:
        self._at = at
        self._budget = budget

    def begun(self, seconds: float, now: float) -> None:
        pass

    def settle(self, ending: Ending, now: float) -> None:
        if not ending.sent:
            self._budget.refund(self._at, now)
