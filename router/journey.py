"""What one call has been through so far, and what may come next. Attempts see nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from providers import ProviderError
from providers.errors import Rejected
from router.backoff import pause
from router.decision import Decision, Step
from router.demand import demand
from router.errors import (
    AllRateLimited,
    DeadlineExceeded,
    Exhausted,
    NoTarget,
    Refused,
    RequestRejected,
    RouterError,
    Shed,
)
from router.select.chance import unit
from router.select.choose import AT_LIMIT, HALF_OPEN_FULL, RATE_LIMITED, Choice, choose
from router.types import Attempt, Call, Route, Target, Tried

# Beyond this no client waits either: the official SDKs give up. Another target may still serve the call.
MAX_RETRY_AFTER_SECONDS = 120.0
FULL = frozenset({AT_LIMIT, "throttled"})
RUNNING = "still running"
# How often a call may go back to the queue for room that was gone when it came.
MAX_WAITS = 3
_NOBODY: Mapping[Target, str] = {}


class Journey:
    """Lives as long as ``Dispatcher.open``. ``deadline`` is on the loop's clock; ``tokens`` what the call may hold,
    ``prompt`` of them its prompt.
    """

    won = False
    _sent = 0
    _waits = 0
    _last: Target | None = None
    _choice: Choice | None = None

    def __init__(
        self,
        call: Call,
        route: Route,
        seed: int,
        loop: asyncio.AbstractEventLoop,
        stopwatch: Callable[[], float],
        decision: Decision,
    ) -> None:
        self.call = call
        self.route = route
        self.loop = loop
        self.prompt, self.tokens = demand(call.request, route)
        self.decision = decision
        self._seed = seed
        self._stopwatch = stopwatch
        self._now = self._look = loop.time
        total = route.total if call.timeout is None else min(route.total, call.timeout)
        self.deadline = self._now() + total
        self._tries: dict[Target, int] = {}
        self._barred: dict[Target, str] = {}
        self._not_before: dict[Target, float] = {}
        self._failures: list[ProviderError] = []
        decision.begin(call, route, self.tokens, stopwatch())

    def has_room(self) -> bool:
        """False if only limits on what runs at once are in the way."""
        choice = self._choice = self._choose()
        return choice.target is not None or AT_LIMIT not in choice.excluded.values()

    def _choose(self) -> Choice:
        return choose(self.call, self.route, self._tries, self._barred, self._not_before, self._chance, self._look())

    def _chance(self) -> float:
        draw = f"pick {self._sent + 1}"
        if self._barred:
            draw = f"{draw} without {len(self._barred)}"
        return unit(self._seed, self.call.request.id, draw)

    def next_attempt(self) -> Attempt | None:
        """None if only limits on what runs at once are in the way: there may be room in a moment. Raises ``RouterError`` if there
        is nothing more to try.
        """
        choice, self._choice = self._choice or self._choose(), None
        self.choice = choice
        target = choice.target
        if target is None:
            if self._may_wait_again(choice):
                return None
            self.decision.last = choice
            raise self._verdict(choice)
        starts = self._not_before.get(target, 0.0)
        number = self._sent + 1
        return Attempt(
            self.call,
            self.route,
            target,
            number,
            starts,
            self.deadline,
            self.tokens,
            self.prompt,
            self._last,
            False,
            choice.forced,
        )

    def _may_wait_again(self, choice: Choice) -> bool:
        """What there was room for a moment ago may have been taken, and what a target did not take may find it full: that
        is no reason to turn the call away.
        """
        limited = [target for target, reason in self._barred.items() if reason == AT_LIMIT]
        if self._waits >= MAX_WAITS or not (limited or AT_LIMIT in choice.excluded.values()):
            return False
        self._waits += 1
        for target in limited:
            del self._barred[target]
        return True

    def next_hedge(self, running: Attempt) -> Attempt | None:
        """Beside an attempt that runs: at another target, now; None if there is none."""
        self._barred[running.target] = RUNNING
        choice = self.choice = self._choose()
        del self._barred[running.target]
        target = choice.target
        if target is None or self._not_before.get(target, 0.0) > self._now():
            return None
        return running._replace(target=target, number=self._sent + 1, starts=0.0, after=running.target, hedge=True)

    def step(self, attempt: Attempt) -> Step:
        """The attempt begins: its time runs."""
        step = Step(
            attempt.number,
            attempt.target,
            self.choice,
            self._barred.copy() if self._barred else _NOBODY,
            self._stopwatch(),
        )
        if attempt.hedge and attempt.after is not None:
            step.hedge = True
            step.barred = {**step.barred, attempt.after: RUNNING}
        self.decision.steps.append(step)
        return step

    async def pause(self, step: Step, attempt: Attempt) -> None:
        """Wait until the attempt may start. The wait is on its target's account, but not part of the attempt."""
        await asyncio.sleep(attempt.starts - self._now())
        began = self._stopwatch()
        step.paused = began - step.began
        self.decision.waited += step.paused
        step.began = began

    def sent(self, step: Step) -> None:
        """Every policy has admitted it: from here on it counts."""
        step.sent = True
        self._sent += 1

    def note(self, step: Step, label: str) -> float:
        """An attempt is over, or has reached its commit point. The result is how long it took, in seconds."""
        seconds = step.seconds = self._stopwatch() - step.began
        step.label = label
        target = step.target
        self.decision.waited += seconds
        self.decision.tried.append(Tried(target, target.name_for(self.call.model), label, seconds))
        return seconds

    def reason(self, step: Step) -> str:
        """Why this target answers, as x-route-reason has it."""
        if step.hedge:
            return "hedge"
        if step.choice.instead is not None or (step.number > 1 and self._has_failed_over(step)):
            return "failover"
        pin = self.call.pin
        if pin is not None:
            return "sticky" if pin.sticky else "pin"
        return "sticky" if self.route.strategy == "affinity" else "weight"

    def _has_failed_over(self, step: Step) -> bool:
        others = (other for other in self.decision.steps if other.sent and not other.hedge)
        return any(other.target is not step.target for other in others)

    def cancelled(self, step: Step) -> None:
        """By the client, or since another attempt has won."""
        if step.sent:
            self.note(step, "hedge_loser" if self.won else "cancelled")

    def failed(self, step: Step, attempt: Attempt, failure: ProviderError) -> None:
        """Raises ``RequestRejected`` if no other target could do better."""
        # Its traceback leads to the frames that hold this journey, which holds it: a cycle, and the collector's work, for each
        # attempt that fails. Nobody reads it: what happened is in its class and its words.
        failure.__traceback__ = failure.__context__ = failure.__cause__ = None
        self.note(step, failure.label)
        if isinstance(failure, Rejected):
            self.decision.reason = self.reason(step)
            raise RequestRejected(failure) from failure
        self._failures.append(failure)
        target = self._last = attempt.target
        same_target = failure.same_target if failure.should_retry is None else failure.should_retry
        named = failure.retry_after
        if not same_target or (named is not None and named > MAX_RETRY_AFTER_SECONDS):
            self._barred[target] = failure.label
            return
        tries = self._tries[target] = self._tries.get(target, 0) + 1
        chance = unit(self._seed, self.call.request.id, f"pause {self._sent}")
        starts = self._now() + pause(failure, tries, self.route.retry.backoff, chance)
        self._not_before[target] = starts
        if starts >= self.deadline:
            self._barred[target] = "deadline"

    def refused(self, step: Step, attempt: Attempt, refusal: Refused) -> None:
        """Raises ``RouterError`` if the refusal ends the call."""
        step.refusal = refusal.reason
        if attempt.hedge:
            return
        if refusal.final:
            raise self._verdict(self.choice, refusal) from refusal
        self._barred[attempt.target] = refusal.reason

    def over(self, error: RouterError) -> None:
        """There is no answer."""
        decision = self.decision
        decision.verdict = error.reason
        error.attempts = tuple(decision.tried)
        error.waited = decision.waited

    def _verdict(self, choice: Choice, refusal: Refused | None = None) -> RouterError:
        if self._failures:
            return Exhausted(self._failures)
        reasons = {*choice.excluded.values(), *self._barred.values()}
        if (refusal is not None and refusal.reason == "deadline") or reasons == {"deadline"}:
            return DeadlineExceeded("the call's time was over before an answer could have begun")
        retry_after = self._soonest(choice)
        if reasons and reasons <= {RATE_LIMITED}:
            return AllRateLimited(f"every target for {self.call.model!r} asks to wait", retry_after)
        if reasons and reasons <= FULL:
            return Shed("targets_full", retry_after or 1.0)
        told = ", ".join(sorted(reasons))
        why = f": {told}" if told else ""
        return NoTarget(f"no target can serve {self.call.model!r} now{why}", retry_after)

    def _soonest(self, choice: Choice) -> float | None:
        """Seconds until the first of those that are out may be back. Who waits for a person to act is no sooner than any
        client would wait for; None if it may be at any moment.
        """
        now = self._now()
        if not choice.excluded:
            return None
        ends = [target.live.until(now) or now + self._patience(reason) for target, reason in choice.excluded.items()]
        seconds = max(0.0, min(ends) - now)
        # Clients keep to it exactly, so one moment for all would bring them all at once: half as long again, by chance.
        return seconds * (1 + unit(self._seed, self.call.request.id, "retry after") / 2)

    @staticmethod
    def _patience(reason: str) -> float:
        return 0.0 if reason in FULL or reason == HALF_OPEN_FULL else MAX_RETRY_AFTER_SECONDS
