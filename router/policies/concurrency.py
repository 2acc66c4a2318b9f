"""How much a target may do at once, found out while it works. The algorithms are ``aimd`` and ``gradient``.

What a stream holds upstream is held until its end, and in proportion to its tokens: an attempt weighs its expected
tokens over those of the target's typical attempt, and the limit is on the sum of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Protocol

from providers.errors import Overloaded
from router.config import Concurrency
from router.errors import Refused
from router.events import Unanswered
from router.measures.quantiles import Quantiles
from router.policies.aimd import LOWER, Aimd
from router.policies.gradient import Gradient
from router.policies.overload import overloaded, unanswered
from router.policy import Ending, Ticket
from router.types import Attempt, Call, Live

AT_ITS_LIMIT = "at_its_limit"
GRADIENT_INITIAL = 20.0  # Netflix's
LEARN_EVERY = 16  # attempts: how seldom the typical size is looked up
SILENT = 0.5
QUIET_SECONDS = 10.0
SLACK = 1e-9


class Algorithm(Protocol):
    """``load`` is what was in flight with the attempt, itself included."""

    @property
    def limit(self) -> float: ...
    def began(
        self,
        weight: float,
        load: float,
        prompt: int | None,
        seconds: float,
        allowed: float = inf,
        started: float = inf,
    ) -> None: ...
    def refused(self, load: float, started: float, now: float) -> None: ...
    def overload(self, load: float, started: float, now: float, left: float = LOWER) -> None: ...
    def restart(self, limit: float) -> None: ...
    def forgive(self, limit: float) -> None: ...


class Limiter:
    """``live.limit`` and ``load`` in requests of ``typical`` tokens. Whatever comes while nothing runs is admitted; a large one
    may go beyond the limit, and weighs no more than half of it: else it would keep all others out until it ends.
    """

    name = "concurrency"

    def __init__(self, live: Live, settings: Concurrency) -> None:
        self._live = live
        self._enabled = settings.enabled
        self._name = settings.algorithm
        self._by_prompt = settings.algorithm == "gradient"
        self._algorithm = algorithm(settings)
        self._sizes = Quantiles(least=LEARN_EVERY)
        self._until_learnt = LEARN_EVERY
        self._running = 0
        self._idle_since = -inf
        self._before: float | None = None  # the limit that a silence has lowered
        self.load = 0.0
        self.typical = 0.0
        if self._enabled:
            live.limit = self._algorithm.limit

    def refusal(self, call: Call, now: float) -> str | None:
        if not self._running or self.load + 1.0 <= self._live.limit + SLACK:
            return None
        return AT_ITS_LIMIT

    def admit(self, attempt: Attempt, now: float) -> Ticket | None:
        if not self._enabled:
            return None
        tokens = attempt.tokens
        limit = self._live.limit
        weight = 1.0
        if tokens and self.typical:
            weight = min(tokens / self.typical, max(1.0, limit / 2.0))
        # Room for a typical one is room enough, as in ``refusal``: else a large one that was told to come would be refused.
        if self._running:
            if self.load + 1.0 > limit + SLACK:
                raise Refused(AT_ITS_LIMIT)
        elif self._before is not None and now - self._idle_since >= QUIET_SECONDS:
            self._forgive(self._before)
        load = self.load = self.load + weight
        self._running += 1
        if tokens:
            self._sizes.add(tokens)
            self._until_learnt -= 1
            if not self._until_learnt:
                self._until_learnt = LEARN_EVERY
                self.typical = self._sizes.quantile(0.5) or 0.0
        timeouts = attempt.target.timeouts
        if attempt.call.request.stream:
            return _Ticket(self, weight, load, now, timeouts.first_token, attempt.prompt if self._by_prompt else None)
        return _Ticket(self, weight, load, now, timeouts.attempt, None)

    def until(self, now: float) -> float | None:
        """Unknown: when something else has ended."""
        return None

    def describe(self, now: float) -> Mapping[str, Any]:
        return {
            "enabled": self._enabled,
            "algorithm": self._name,
            "limit": self._live.limit if self._enabled else None,
            "load": self.load,
            "typical_tokens": self.typical or None,
        }

    def began(
        self, weight: float, load: float, prompt: int | None, seconds: float, allowed: float, started: float
    ) -> None:
        self._algorithm.began(weight, load, prompt, seconds, allowed, started)
        self._live.limit = self._algorithm.limit

    def overload(self, load: float, started: float, now: float, *, refused: bool) -> None:
        """The larger of the loads then and now: of those that came together, the first met none, and fails first."""
        self._before = None
        lower = self._algorithm.refused if refused else self._algorithm.overload
        lower(max(load, self.load), started, now)
        self._live.limit = self._algorithm.limit

    def unanswered(self, event: Unanswered) -> None:
        """Callers give up and nobody is answered: it works for those who have gone, and gets round to the others if it is given
        less. Once that may be chance; if it goes on it gets half each time (TCP, when its timer runs out). When it has had
        nothing to do for a while it is as before.
        """
        if self._enabled and event.drowned:
            if self._before is None:
                self._before = self._algorithm.limit
            left = SILENT if event.again else LOWER
            self._algorithm.overload(self.load, event.at - event.seconds, event.at, left)
            self._live.limit = self._algorithm.limit

    def hears_nothing_since(self, started: float) -> bool:
        return self._live.answered_at <= started

    def restart(self, limit: float) -> None:
        """The target is back: let it have ``limit`` at once, and twice as much each round, until it says otherwise."""
        if self._enabled:
            self._algorithm.restart(limit)
            self._live.limit = self._algorithm.limit

    def _forgive(self, limit: float) -> None:
        self._before = None
        self._algorithm.forgive(limit)
        self._live.limit = self._algorithm.limit

    def release(self, weight: float, now: float) -> None:
        self._running -= 1
        if not self._running:
            self._idle_since = now
        self.load = self.load - weight if self._running else 0.0  # no rounding error outlives the load


def algorithm(settings: Concurrency) -> Algorithm:
    initial, least, most = settings.initial, settings.min, settings.max
    if settings.algorithm == "gradient":
        return Gradient(GRADIENT_INITIAL if initial is None else initial, least, most)
    return Aimd(most if initial is None else initial, least, most, slow_start=True)


class _Ticket:
    """Numbers only: the attempt leads to the request, whose body would live as long as the stream."""

    __slots__ = ("_allowed", "_limiter", "_load", "_prompt", "_started", "_weight")

    def __init__(
        self, limiter: Limiter, weight: float, load: float, started: float, allowed: float, prompt: int | None
    ) -> None:
        self._limiter = limiter
        self._weight = weight
        self._load = load
        self._started = started
        self._allowed = allowed
        self._prompt = prompt

    def begun(self, seconds: float, now: float) -> None:
        self._limiter.began(self._weight, self._load, self._prompt, seconds, self._allowed, self._started)

    def settle(self, ending: Ending, now: float) -> None:
        """Overload teaches, and so does a time in which nobody was answered; whatever else ends an attempt only gives back what
        it held.
        """
        if overloaded(ending) or (unanswered(ending) and self._limiter.hears_nothing_since(self._started)):
            self._limiter.overload(self._load, self._started, now, refused=isinstance(ending.failure, Overloaded))
        self._limiter.release(self._weight, now)
