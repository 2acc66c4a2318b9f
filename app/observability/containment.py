"""What keeps failures where they are, in numbers: breakers, budgets, limits, what was turned away; and those made on purpose."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from time import monotonic

from app.observability.ending import outcome_of
from app.observability.numbers import Count, Family, Histogram, counter, gauge
from app.wiring import Gateway
from providers.faults import FAULTS
from router import Live
from router.events import BreakerMoved, FaultInjected, FaultOverflowed, RetryRefused, Shed, StandingChanged, Unanswered
from router.policies.breaker import Breaker
from router.policies.retry_budget import RetryBudgets
from router.policies.standing import Standing

STATES = ("closed", "open", "half_open", "forced_open")
STANDINGS = ("drained", "disabled")


class Containment:
    """Counts events as they come; ``look`` reads the rest."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.breaker = gauge("breakwater_breaker_state", "1 for the state that it is in.", "target", "state")
        self.moves = counter("breakwater_breaker_moves", "Transitions of breakers.", "target", "state")
        self.silences = counter(
            "breakwater_target_unanswered", "How often it answered nobody while callers gave up.", "target"
        )
        self.standing = gauge("breakwater_target_standing", "1 if it is drained or disabled.", "target", "standing")
        self.alarms = counter("breakwater_target_disabled", "How often an upstream made itself useless.", "target")
        self.limit = gauge(
            "breakwater_concurrency_limit", "Requests of typical size at once, if there is a limit.", "target"
        )
        self.budget = gauge("breakwater_retry_budget_remaining", "Retries that may follow a failure now.", "target")
        self.refused = counter("breakwater_retries_refused", "Calls that were not tried again.", "target", "reason")
        self.tokens = gauge("breakwater_tokens_in_flight", "Input + 2 x output tokens of calls that run.")
        self.waiting = gauge("breakwater_queue_length", "Calls that wait for room.", "priority")
        self.shed = counter("breakwater_shed", "Calls that were turned away.", "reason", "priority")
        self.mirrored = counter("breakwater_mirror", "Copies of calls, by how they ended.", "target", "outcome")
        self.faults = counter("breakwater_faults_injected", "Attempts that met a fault on purpose.", "fault", "target")
        self.spared = counter(
            "breakwater_faults_overflowed",
            "Attempts spared, since as many as may were under a fault.",
            "fault",
            "target",
        )
        self.acting = gauge("breakwater_faults_active", "Faults that act now.", "fault")
        for target in gateway.lives:
            self.alarms.at(target)
            self.silences.at(target)
        events = gateway.events
        events.listen(self._moved, BreakerMoved)
        events.listen(self._unanswered, Unanswered)
        events.listen(self._standing, StandingChanged)
        events.listen(self._shed, Shed)
        events.listen(self._refused, RetryRefused)
        events.listen(self._injected, FaultInjected)
        events.listen(self._spared, FaultOverflowed)

    @property
    def families(self) -> Sequence[Family[Count | Histogram]]:
        return (
            self.breaker,
            self.moves,
            self.silences,
            self.standing,
            self.alarms,
            self.limit,
            self.budget,
            self.refused,
            self.tokens,
            self.waiting,
            self.shed,
            self.mirrored,
            self.faults,
            self.spared,
            self.acting,
        )

    def look(self) -> None:
        now = monotonic()  # as the event loop's
        gateway = self._gateway
        for name, live in gateway.lives.items():
            self._look_at(name, live, now)
        self.tokens.at().value = gateway.gate.tokens_in_flight
        for priority, waiting in gateway.gate.describe(now)["waiting"].items():
            self.waiting.at(priority).value = waiting
        acting = Counter(each.rule.kind for each in gateway.chaos.acting.values())
        for kind in FAULTS:
            self.acting.at(kind).value = acting[kind]
        mirrored: Counter[tuple[str, str]] = Counter()
        for (target, label), count in gateway.mirrors.outcomes.items():  # two routes may mirror to the same
            mirrored[target.id, outcome_of(label)] += count
        for (target_id, outcome), count in mirrored.items():
            self.mirrored.at(target_id, outcome).value = count

    def _look_at(self, name: str, live: Live, now: float) -> None:
        breaker, standing = live.guard(Breaker), live.guard(Standing)
        if breaker is not None:
            state = breaker.state_at(now)
            for each in STATES:
                self.breaker.at(name, each).value = int(each == state)
        if standing is not None:
            stands = standing.state_at(now)
            for each in STANDINGS:
                self.standing.at(name, each).value = int(each == stands)
        if math.isfinite(live.limit):
            self.limit.at(name).value = int(live.limit)
        if (balance := RetryBudgets.balance_of(live, now)) is not None:
            self.budget.at(name).value = balance

    def _moved(self, event: BreakerMoved) -> None:
        self.moves.at(event.target, event.after).value += 1

    def _unanswered(self, event: Unanswered) -> None:
        self.silences.at(event.target).value += 1

    def _standing(self, event: StandingChanged) -> None:
        if event.standing == "disabled":
            self.alarms.at(event.target).value += 1

    def _shed(self, event: Shed) -> None:
        self.shed.at(event.reason, event.priority).value += 1

    def _refused(self, event: RetryRefused) -> None:
        self.refused.at(event.target, event.reason).value += 1

    def _injected(self, event: FaultInjected) -> None:
        self.faults.at(event.kind, event.target).value += 1

    def _spared(self, event: FaultOverflowed) -> None:
        self.spared.at(event.kind, event.target).value += 1
