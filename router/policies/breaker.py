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
from providers.errors import RateLimited, TimedOut
from router.config import Breaker as Config
from router.errors import Refused
from router.events import BreakerMoved
from router.measures.window import Window
from router.policies.ejections import Ejections
from router.policy import Ending, Ticket
from router.select.chance import unit
from router.types import Attempt, Call

CLOSED, OPEN, HALF_OPEN, FORCED_OPEN = "closed", "open", "half_open", "forced_open"
CALLS, FAILURES, SLOW = range(3)
SLICES = 30
HEALTHY_SECONDS = 10.0  # takes one ejection off the count of those in a row (Envoy's interval)
UNDECIDED_SECONDS = 60.0


class Breaker:
    """Guard of one target. ``companies`` are the routes that it belongs to: they may forbid it to open.

    A success counts when the answer begins, since a stream may last longer than any window; if it breaks off later, that
    success becomes a failure. What began before the last transition counts no more.
    """

    name = "breaker"

    def __init__(
        self, target: str, config: Config, *, seed: int = 0, emit: Callable[[BreakerMoved], None] = lambda _: None
    ) -> None:
        self.companies: list[Ejections] = []
        self.state = CLOSED
        self.since = 0.0
        self.open_until = 0.0
        self.slow_seconds = config.slow_first_token
        self._target = target
        self._config = config
        self._seed = seed
        self._emit = emit
        self._generation = 0
        self._window = Window(config.window, SLICES, 3)
        self._consecutive = 0
        self._ejections = 0
        self._openings = 0
        self._probes = _Probes()

    @property
    def ejected(self) -> bool:
        """All but closed: a target that is probed is not back yet."""
        return self.state is not CLOSED

    def refusal(self, call: Call, now: float) -> str | None:
        return None if self.state is CLOSED else self._refusal(now)

    def admit(self, attempt: Attempt, now: float) -> Ticket:
        probe = False
        if self.state is not CLOSED:
            reason = self._refusal(now)
            if reason is not None and not attempt.forced:
                raise Refused(reason)
            probe = reason is None and self.state is HALF_OPEN
            self._probes.granted += probe
        return _Ticket(self, self._generation, probe)

    def until(self, now: float) -> float | None:
        is_open = self.state in (OPEN, FORCED_OPEN) and now < self.open_until < math.inf
        return self.open_until if is_open else None

    def state_at(self, now: float) -> str:
        """What it will be found to be at the next look."""
        return HALF_OPEN if self.state in (OPEN, FORCED_OPEN) and now >= self.open_until else self.state

    def describe(self, now: float) -> Mapping[str, Any]:
        window = self._window
        return {
            "state": self.state_at(now),
            "since": self.since,
            "open_until": self.until(now),
            "calls": window.total(now, CALLS),
            "failures": window.total(now, FAILURES),
            "slow": window.total(now, SLOW),
            "consecutive_failures": self._consecutive,
            "ejections_in_a_row": self._ejections_at(now),
            "probes": {"running": self._probes.granted, "results": self._probes.results, "of": self._config.half_open},
            "enabled": self._config.enabled,
        }

    def force_open(self, now: float, reason: str, until: float | None = None) -> None:
        """By an operator, until then; None is until ``force_close``."""
        self._ejections = self._ejections_at(now)
        self.open_until = math.inf if until is None else until
        self._move(FORCED_OPEN, reason, now)

    def force_close(self, now: float, reason: str) -> None:
        """By an operator: what was counted is forgotten."""
        self.open_until = 0.0
        self._move(CLOSED, reason, now)

    def trip(self, now: float, reason: str) -> None:
        """Open, if that is allowed. An open one opens anew: never for less than it has left."""
        if not self._config.enabled or self.state is FORCED_OPEN:
            return
        if self.state is CLOSED and not all(company.may_eject() for company in self.companies):
            return
        config = self._config
        self._ejections = self._ejections_at(now) + 1
        self._openings += 1
        seconds = min(config.open_max, config.open_base * self._ejections)
        seconds *= 1 + unit(self._seed, self._target, f"open {self._openings}") / 2
        self.open_until = max(self.open_until, now + seconds)
        self._move(OPEN, reason, now)

    def _refusal(self, now: float) -> str | None:
        if self.state is not HALF_OPEN:
            if now < self.open_until:
                return "breaker_open"
            self._move(HALF_OPEN, "its time is over", now)
        probes = self._probes
        if now - self.since >= UNDECIDED_SECONDS and (probes.results or probes.granted):
            self._decide(now)
            return "breaker_open" if self.ejected else None
        return None if probes.granted + probes.results < self._config.half_open else "half_open_full"

    # --- results ------------------------------------------------------------------------------------------------

    def succeeded(self, generation: int, probe: bool, slow: bool, now: float) -> int:
        """An answer has begun. The result is for ``broke``: how many failures there had been in a row."""
        if generation != self._generation:
            return 0
        if probe:
            self._probes.record(failed=False, slow=slow)
            self._decide_if_complete(now)
            return 0
        before, self._consecutive = self._consecutive, 0
        window = self._window
        window.add(now, CALLS)
        if slow:
            window.add(now, SLOW)
            self._judge(now)
        return before

    def broke(self, generation: int, probe: bool, before: int, now: float) -> None:
        """An answer that had begun is no answer: as if it had never counted as one."""
        if generation != self._generation:
            return
        if probe:
            self._probes.failures += 1
            return
        window = self._window
        if window.total(now, FAILURES) >= window.total(now, CALLS):  # its success is forgotten already
            window.add(now, CALLS)
        window.add(now, FAILURES)
        self._consecutive = max(self._consecutive, before) + 1
        self._judge(now)

    def failed(self, generation: int, probe: bool, ending: Ending, now: float) -> None:
        """There was no answer."""
        if generation != self._generation:
            return
        slow = isinstance(ending.failure, TimedOut) and ending.failure.phase != "connect"
        if probe:
            self._probes.record(failed=True, slow=slow)
            self._decide_if_complete(now)
            return
        window = self._window
        window.add(now, CALLS)
        window.add(now, FAILURES)
        if slow:
            window.add(now, SLOW)
        if not isinstance(ending.failure, RateLimited):
            self._consecutive += 1
        self._judge(now)

    def released(self, generation: int, probe: bool) -> None:
        """It says nothing about the target: the permit is for the next."""
        if probe and generation == self._generation:
            self._probes.granted -= 1

    # --- verdicts -----------------------------------------------------------------------------------------------

    def _judge(self, now: float) -> None:
        """Closed: is it enough to open?"""
        if self.state is not CLOSED:
            return
        config, window = self._config, self._window
        window.advance(now)
        calls, failures, slow = window.totals
        if self._consecutive >= config.consecutive:
            self.trip(now, f"{self._consecutive} failures in a row")
        elif calls >= config.min_calls and failures >= config.failure_rate * calls:
            self.trip(now, f"{failures} of {calls} calls failed")
        elif calls >= config.min_calls and slow >= config.slow_rate * calls:
            self.trip(now, f"{slow} of {calls} calls were slow")

    def _decide_if_complete(self, now: float) -> None:
        if self._probes.results >= self._config.half_open:
            self._decide(now)

    def _decide(self, now: float) -> None:
        """Half open: by what the probes have shown, be they all that were wanted or not. Silence is no good sign."""
        config, probes = self._config, self._probes
        if not probes.results:
            self.trip(now, f"{probes.granted} probes said nothing for {UNDECIDED_SECONDS:g} s")
        elif probes.failures >= config.failure_rate * probes.results:
            self.trip(now, f"{probes.failures} of {probes.results} probes failed")
        elif probes.slow >= config.slow_rate * probes.results:
            self.trip(now, f"{probes.slow} of {probes.results} probes were slow")
        else:
            self._move(CLOSED, f"{probes.results - probes.failures} of {probes.results} probes were good", now)

    def _ejections_at(self, now: float) -> int:
        """In a row; each healthy interval takes one off."""
        if self.state is not CLOSED:
            return self._ejections
        return max(0, self._ejections - int((now - self.since) / HEALTHY_SECONDS))

    def _move(self, state: str, reason: str, now: float) -> None:
        window = self._window
        window.advance(now)
        calls, failures, slow = window.totals
        before = self.state
        if state is HALF_OPEN or state is CLOSED:
            window.clear()
            self._consecutive = 0
        self.state = state
        self.since = now
        self._generation += 1
        self._probes = _Probes()
        open_until = self.open_until if state in (OPEN, FORCED_OPEN) else 0.0
        ejections = self._ejections
        self._emit(BreakerMoved(now, self._target, before, state, reason, calls, failures, slow, ejections, open_until))


class _Probes:
    """Of one half-open time. Granted and not ended, plus recorded, never exceed what is allowed."""

    __slots__ = ("failures", "granted", "results", "slow")

    def __init__(self) -> None:
        self.granted = self.results = self.failures = self.slow = 0

    def record(self, *, failed: bool, slow: bool) -> None:
        self.granted -= 1
        self.results += 1
        self.failures += failed
        self.slow += slow


class _Ticket:
    __slots__ = ("_before", "_begun", "_breaker", "_generation", "_probe")

    def __init__(self, breaker: Breaker, generation: int, probe: bool) -> None:
        self._breaker = breaker
        self._generation = generation
        self._probe = probe
        self._begun = False

    def begun(self, seconds: float, now: float) -> None:
        self._begun = True
        breaker = self._breaker
        self._before = breaker.succeeded(self._generation, self._probe, seconds >= breaker.slow_seconds, now)

    def settle(self, ending: Ending, now: float) -> None:
        outcome = ending.outcome
        breaker = self._breaker
        if outcome is Outcome.FAULT or outcome is Outcome.OVERLOAD:
            if self._begun:
                breaker.broke(self._generation, self._probe, self._before, now)
            else:
                breaker.failed(self._generation, self._probe, ending, now)
        elif self._begun:
            return
        elif outcome is Outcome.OK:  # a request that was refused for its own faults was answered
            breaker.succeeded(self._generation, self._probe, False, now)
        else:
            breaker.released(self._generation, self._probe)
