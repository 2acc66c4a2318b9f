"""A circuit breaker for one target: resilience4j's state machine, with permits, over a window of time.

    closed ──too many failures, or too slow──► open ──its time is over──► half_open ──N results: good──► closed
      ▲                                         ▲                             └────────── bad ─────────────┐
      └── operator: close                       └──────────────────────────────────────────────────────────┘
    operator: open ─► forced_open ──► half_open when the operator's time is over

What counts is table B10 of docs/RESILIENCE.md. Which failures count at all is said by ``Outcome``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from providers import Outcome
from router.config import Breaker as Config
from router.errors import Refused
from router.events import BreakerMoved
from router.policies.ejections import Ejections
from router.policies.evidence import CALLS, FAILURES, SILENT_SECONDS, SLOW, Counts, Probes, Tally, is_slow
from router.policy import Ending, Ticket
from router.select.chance import unit
from router.types import Attempt, Call

CLOSED, OPEN, HALF_OPEN, FORCED_OPEN = "closed", "open", "half_open", "forced_open"
HEALTHY_SECONDS = 10.0  # takes one ejection off the count of those in a row (Envoy's interval)


class Breaker:
    """Guard of one target. ``companies`` are the routes that it belongs to: they may forbid it to open, and then it opens with
    the next result that leaves it reason to, once they allow it; but if it answers meanwhile it is judged anew from then on.
    ``open_until`` is 0 unless it is open.

    A success counts when the answer begins, since a stream may last longer than any window; if it breaks off later, that
    success becomes a failure. What began before the last transition counts no more. One that is not ``enabled`` counts, and
    opens only for an operator.
    """

    name = "breaker"

    def __init__(
        self, target: str, config: Config, *, seed: int = 0, emit: Callable[[BreakerMoved], None] = lambda _: None
    ) -> None:
        self.companies: list[Ejections] = []
        self.state = CLOSED
        self.since = 0.0
        self.open_until = 0.0
        self._target = target
        self._config = config
        self._seed = seed
        self._emit = emit
        self._reason: str | None = None
        self._before = Counts()
        self._tally = Tally(config)
        self._probes = Probes(config.half_open)
        self._ejections = 0
        self._openings = 0
        self.forbidden = math.inf  # when it was last not allowed to open, while that matters

    @property
    def ejected(self) -> bool:
        """All but closed: one that is probed is not back yet, and may be open again without asking anybody."""
        return self.state is not CLOSED

    def refusal(self, call: Call, now: float) -> str | None:
        return None if self.state is CLOSED else self._refusal(now)

    def admit(self, attempt: Attempt, now: float) -> Ticket | None:
        """A forced attempt always comes in. It is a probe if a permit is left, and else says nothing."""
        if self.state is not CLOSED:
            reason = self._refusal(now)
            if reason is not None:
                if attempt.forced:
                    return None
                raise Refused(reason)
        # What takes long in a plain answer is its length.
        patience = self._config.slow_first_token if attempt.call.request.stream else math.inf
        if self.state is CLOSED:
            return _Counted(self, self._tally, patience)
        self._probes.grant(now)
        return _Probe(self, self._probes, patience)

    def until(self, now: float) -> float | None:
        return self.open_until if now < self.open_until < math.inf else None

    def state_at(self, now: float) -> str:
        """What the next look will find."""
        if self.state is OPEN or self.state is FORCED_OPEN:
            return self.state if now < self.open_until else self._next
        return OPEN if self.state is HALF_OPEN and self._probes.is_silent(now) else self.state

    def describe(self, now: float) -> Mapping[str, Any]:
        """The counts are those of the window; of the probes, half open; open, of what was before."""
        state = self.state_at(now)
        calls, failures, slow = self._counts(now)
        return {
            "state": state,
            "since": self.since if state == self.state else self._due,
            "reason": self._reason,
            "open_until": self.until(now),
            "calls": calls,
            "failures": failures,
            "slow": slow,
            "consecutive_failures": self._tally.in_a_row,
            "ejections_in_a_row": self._ejections_at(now),
            "probes": {"running": self._probes.granted, "results": self._probes.results, "of": self._probes.of},
            "enabled": self._config.enabled,
        }

    # --- transitions --------------------------------------------------------------------------------------------

    def force_open(self, now: float, reason: str, until: float | None = None) -> None:
        """By an operator, until then; None is until ``force_close``. For no less than it is open already."""
        own = self.open_until if self.state is OPEN else 0.0
        self._move(FORCED_OPEN, reason, now, max(own, math.inf if until is None else until))

    def force_close(self, now: float, reason: str) -> None:
        """By an operator: what was counted is forgotten, but for the ejections in a row."""
        self._move(CLOSED, reason, now)

    def trip(self, now: float, reason: str, *, grows: bool = True) -> None:
        """Open, if that is allowed. An open one opens anew: never for less than it has left. It ``grows`` with each opening in a
        row; not when only a probe has failed, since no client had to find that out.
        """
        if not self._config.enabled or self.state is FORCED_OPEN:
            return
        if self.state is CLOSED and not all(company.may_eject() for company in self.companies):
            self.forbidden = now
            return
        config = self._config
        in_a_row = max(1, self._ejections_at(now) + grows)
        self._openings += 1
        seconds = min(config.open_max, config.open_base * in_a_row)
        seconds *= 1 + unit(self._seed, self._target, f"open {self._openings}") / 2
        self._move(OPEN, reason, now, max(self.open_until, now + seconds), in_a_row)

    def judge_anew(self) -> None:
        """It was not allowed to open, and answers again: what was before is no reason to open once it is allowed."""
        self.forbidden = math.inf
        self._tally = Tally(self._config)

    def judge(self, tally: Tally, now: float) -> None:
        """Closed: do the results of ``tally`` make it open? None of an earlier time does."""
        if tally is self._tally and self._config.enabled:
            reason = tally.verdict(self._config, now)
            if reason is not None:
                self.trip(now, reason)

    def decide(self, probes: Probes, now: float) -> None:
        """Half open: close or open again, once there are as many results as are wanted."""
        if probes is self._probes and probes.results >= probes.of:
            reason = probes.verdict(self._config)
            if reason is not None:
                self.trip(now, reason)
            else:
                good = probes.results - probes.failures
                self._move(CLOSED, f"{good} of {probes.results} probes were good", now)

    @property
    def _next(self) -> str:
        """What follows when it has been open for its time. There is no verdict where none may open it again."""
        return HALF_OPEN if self._config.enabled else CLOSED

    @property
    def _due(self) -> float:
        """When the transition that only time brings is due."""
        return self._probes.asked + SILENT_SECONDS if self.state is HALF_OPEN else self.open_until

    def _refusal(self, now: float) -> str | None:
        """After the transition that time brings, if it is due."""
        if self.state is not HALF_OPEN:
            if now < self.open_until:
                return "forced_open" if self.state is FORCED_OPEN else "breaker_open"
            self._move(self._next, "its time is over", now)
            if self.state is CLOSED:
                return None
        probes = self._probes
        if probes.is_silent(now):
            self.trip(now, f"{probes.granted} probes have said nothing for {SILENT_SECONDS:g} s")
            return "breaker_open"
        return None if probes.has_room else "half_open_full"

    def _ejections_at(self, now: float) -> int:
        """In a row; each healthy interval takes one off."""
        if self.state is not CLOSED:
            return self._ejections
        return max(0, self._ejections - int(max(0.0, now - self.since) / HEALTHY_SECONDS))

    def _counts(self, now: float) -> Counts:
        if self.state is CLOSED:
            return self._tally.counts(now)
        return self._probes.counts() if self.state is HALF_OPEN else self._before

    def _move(self, state: str, reason: str, now: float, open_until: float = 0.0, ejections: int | None = None) -> None:
        before, self._before = self.state, self._counts(now)
        self._ejections = self._ejections_at(now) if ejections is None else ejections
        self.state = state
        self.since = now
        self.open_until = open_until
        self._reason = reason
        self.forbidden = math.inf
        self._tally = Tally(self._config)  # results of earlier tickets go to the old ones
        self._probes = Probes(self._config.half_open)
        self._emit(BreakerMoved(now, self._target, before, state, reason, *self._before, self._ejections, open_until))


class _Counted:
    """Of an attempt that began while the breaker was closed. ``patience``: seconds after which its answer is slow."""

    __slots__ = ("_before", "_breaker", "_patience", "_place", "_slow", "_tally")

    def __init__(self, breaker: Breaker, tally: Tally, patience: float) -> None:
        self._breaker = breaker
        self._tally = tally
        self._patience = patience
        self._place: int | None = None  # in the window, of its success

    def begun(self, seconds: float, now: float) -> None:
        if now - seconds > self._breaker.forbidden:  # sent before that, it says nothing of what is now
            self._breaker.judge_anew()
        tally = self._tally
        self._before = tally.in_a_row
        tally.in_a_row = 0
        tally.latest = self
        window = tally.window
        self._place = window.add(now, CALLS)
        self._slow = seconds > self._patience
        if self._slow:
            window.add(now, SLOW)
        totals = window.totals
        if totals[FAILURES] or totals[SLOW]:
            self._breaker.judge(tally, now)

    def settle(self, ending: Ending, now: float) -> None:
        outcome, tally = ending.outcome, self._tally
        if outcome is Outcome.OK:
            if self._place is None:
                tally.answered(now)
                self._breaker.judge(tally, now)
        elif outcome is not Outcome.IGNORED:
            slow = is_slow(ending.failure)
            if self._place is not None:
                slow = self._take_back(self._place) or slow
            tally.failed(ending.failure, slow=slow, now=now)
            self._breaker.judge(tally, now)

    def _take_back(self, place: int) -> bool:
        """An answer that breaks off was no success. The result: it was slow."""
        tally = self._tally
        tally.window.take_back(place, CALLS)
        if self._slow:
            tally.window.take_back(place, SLOW)
        if tally.latest is self:  # no success has ended the row since
            tally.in_a_row += self._before
        return self._slow


class _Probe:
    """Of one of the attempts that decide whether a half-open breaker closes."""

    __slots__ = ("_begun", "_breaker", "_patience", "_probes", "_slow")

    def __init__(self, breaker: Breaker, probes: Probes, patience: float) -> None:
        self._breaker = breaker
        self._probes = probes
        self._patience = patience
        self._begun = self._slow = False

    def begun(self, seconds: float, now: float) -> None:
        self._begun = True
        self._slow = seconds > self._patience
        self._probes.record(failed=False, slow=self._slow)
        self._breaker.decide(self._probes, now)

    def settle(self, ending: Ending, now: float) -> None:
        outcome, probes = ending.outcome, self._probes
        if outcome is Outcome.IGNORED:
            if not self._begun:
                probes.release()
        elif outcome is Outcome.OK:
            if not self._begun:
                probes.record(failed=False, slow=False)
                self._breaker.decide(probes, now)
        elif self._begun:  # its success becomes a failure, if nothing has been decided yet
            probes.failures += 1
            probes.slow += is_slow(ending.failure) and not self._slow
        else:
            probes.record(failed=True, slow=is_slow(ending.failure))
            self._breaker.decide(probes, now)
