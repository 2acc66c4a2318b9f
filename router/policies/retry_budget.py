"""How many retries first attempts pay for: Finagle's RetryBudget, and a small burst for a gateway with little traffic.

Every first attempt deposits a little at its target, every retry, failover or hedge withdraws at the target whose failure (or
silence) it follows. Both are forgotten after ``ttl``.
"""

from __future__ import annotations

from math import ceil, inf

from router.config import RetryBudget
from router.errors import Refused
from router.policy import Ending
from router.types import Attempt, Live

SCALE = 1000  # Finagle's ScaleFactor: a deposit, so that whole numbers are enough
SLICES = 10


class TokenBudget:
    """The budget of one target. A withdrawal costs 1 / ``ratio`` deposits; ``min_per_second`` * ``ttl`` are free; what is
    deposited and what is withdrawn expires together with its slice, a tenth of ``ttl``.

    The ``burst`` is ours: with no free withdrawals a lone first failure could never fail over (gRPC and AWS start with full
    buckets, Envoy lets three run). It pays when the window cannot, and is whole again as soon as nobody has needed it for
    ``ttl`` seconds: neither taken from it nor been denied. With no free withdrawals that bounds what is withdrawn, refunds
    taken off:

    - since the start, while the need never pauses for ``ttl``: ratio * deposits + burst at most. No deposit pays twice,
      since what it has paid for expires after it; and the burst does not come back.
    - in any ``ttl``: ratio * deposits of it and of the ``ttl`` before + burst at most, since bursts lie ``ttl`` apart.

    Against Finagle the cost is rounded up, not down, so that no ratio is exceeded.
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

    def __init__(self, config: RetryBudget) -> None:
        self._deposit = SCALE if config.ratio > 0 else 0
        self._cost = ceil(SCALE / config.ratio) if config.ratio > 0 else 1
        self._reserve = int(config.min_per_second * config.ttl * self._cost)
        self._ttl = config.ttl
        self._pace = SLICES / config.ttl
        self._slices = [0] * SLICES
        self._slice = 0  # counted from the start of the clock
        self._sum = 0
        self._burst = self._left = config.burst
        self._needed = -inf

    def deposit(self, now: float) -> None:
        """A first attempt."""
        place = int(now * self._pace)
        if place != self._slice:
            self._turn(place)
        self._slices[place % SLICES] += self._deposit
        self._sum += self._deposit

    def take_back(self, deposited: float, now: float) -> None:
        """The first attempt that was deposited for at ``deposited`` was never sent."""
        self._change(-self._deposit, deposited, now)

    def try_withdraw(self, now: float) -> bool:
        """May there be a retry? If so, it is paid for."""
        self._turn(int(now * self._pace))
        if self._sum + self._reserve >= self._cost:
            self._change(-self._cost, now, now)
            return True
        self._left = self._burst_left(now)
        self._needed = now
        if not self._left:
            return False
        self._left -= 1
        return True

    def refund(self, withdrawn: float, now: float) -> None:
        """The retry that was paid for at ``withdrawn`` was never sent. What the burst paid comes back to the window."""
        self._change(self._cost, withdrawn, now)

    def balance(self, now: float) -> int:
        """How many retries could be paid for now."""
        self._turn(int(now * self._pace))
        return max(0, (self._sum + self._reserve) // self._cost) + self._burst_left(now)

    def _burst_left(self, now: float) -> int:
        return self._burst if now - self._needed >= self._ttl else self._left

    def _change(self, amount: int, at: float, now: float) -> None:
        """In the slice of ``at``, as if it had been so from the first; if that has expired, there is nothing to change."""
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


class RetryBudgets:
    """One ``TokenBudget`` a target, set up by the first route that uses it.

    A client's own retry is no original (SRE ch. 21): it deposits nothing.
    """

    def __init__(self) -> None:
        self._budgets: dict[Live, TokenBudget] = {}

    def admit(self, attempt: Attempt, now: float) -> _Deposit | _Withdrawal | None:
        config = attempt.route.retry.budget
        if not config.enabled:
            return None
        after = attempt.after
        if after is None:
            if attempt.call.retries:
                return None
            budget = self._of(attempt.target.live, config)
            budget.deposit(now)
            return _Deposit(budget, now)
        budget = self._of(after.live, config)
        if not budget.try_withdraw(now):
            raise Refused("rate_budget", final=not attempt.hedge)
        return _Withdrawal(budget, now)

    def balance_of(self, live: Live, now: float) -> int | None:
        """How many retries could follow failures of this target now; None before its first attempt."""
        budget = self._budgets.get(live)
        return None if budget is None else budget.balance(now)

    def _of(self, live: Live, config: RetryBudget) -> TokenBudget:
        budget = self._budgets.get(live)
        if budget is None:
            budget = self._budgets[live] = TokenBudget(config)
        return budget


class _Paid:
    """What was paid in or out at ``at`` goes back if the attempt was never sent."""

    __slots__ = ("_at", "_budget")

    def __init__(self, budget: TokenBudget, at: float) -> None:
        self._budget = budget
        self._at = at

    def begun(self, seconds: float, now: float) -> None:
        pass


class _Deposit(_Paid):
    __slots__ = ()

    def settle(self, ending: Ending, now: float) -> None:
        if not ending.sent:
            self._budget.take_back(self._at, now)


class _Withdrawal(_Paid):
    __slots__ = ()

    def settle(self, ending: Ending, now: float) -> None:
        if not ending.sent:
            self._budget.refund(self._at, now)
