"""What would happen to a call now: the gate, the first choice, and the chain if every attempt failed.

It drives the same ``Journey`` as the dispatcher does, on a clock of its own, and fails each attempt itself. So the targets,
the draws and their order are those that the call would meet as things are now; and no ticket is taken, nothing is sent,
nothing counts. What only a ticket can tell (how large the attempt is for its target's limit, how many retries of others
run, how much a route's retry throttle has left) is not foreseen; nor are hedges, since nobody is silent here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, Literal, NamedTuple, cast

from providers.errors import ServerFault
from router.decision import Decision
from router.errors import Refused, RouterError
from router.journey import Journey
from router.policies.attempt_cap import AttemptCap
from router.policies.deadline import Deadline
from router.policies.retry_budget import is_displaced
from router.policies.shed import CALM, outranked
from router.select.choose import Choice, rank
from router.select.strategies import STRATEGIES
from router.types import Attempt, Call, Live, Pin, Priority, Route, Target

# A share is counted over so many picks, evenly spread over chance.
PICKS = 1000
ASSUMED_STATUS = 500


class Seen(NamedTuple):
    """A target of the route in one choice. ``why`` it is excluded; ``score`` is what the strategy gave it, if it was asked;
    ``share`` of the calls that it would get, 0 to 1, where that was worked out.
    """

    target: Target
    state: Literal["picked", "candidate", "excluded"]
    why: str | None = None
    score: float | None = None
    share: float | None = None


class Link(NamedTuple):
    """One attempt of the chain. ``starts`` seconds from now; ``reason`` as in x-route-reason."""

    number: int
    target: Target
    starts: float
    reason: str
    forced: bool
    seen: Sequence[Seen]


class Explanation(NamedTuple):
    """``gate`` is admitted, queued or shed; ``end`` the reason why there is no further attempt, ``message`` the same for
    people; ``nobody`` how the targets looked where none was left, empty if it did not come to that.
    """

    route: Route
    tokens: int
    gate: str
    gate_reason: str | None
    chain: Sequence[Link]
    end: str
    message: str
    nobody: Sequence[Seen]


class Outlook(NamedTuple):
    """What else the gateway would be asked: the gate's ``describe(now)``; whether a route's clients are told not to retry;
    how many retries a target's budget could pay for, None if it does not know yet.
    """

    gate: Mapping[str, Any]
    storming: Callable[[str, float], bool]
    balance: Callable[[Live, float], int | None]


def explain(call: Call, route: Route, outlook: Outlook, *, seed: int, now: float) -> Explanation:
    """``now`` on the loop's clock. Raises ``RouterError`` where the call itself is wrong: an unknown pin."""
    clock = _Still(now)
    journey = _Imagined(call, route, seed, clock)
    decision = journey.decision
    gate, gate_reason = at_the_gate(outlook.gate, call.priority, journey.tokens, has_room=journey.has_room())
    chain: list[Link] = []
    try:
        end = _follow(journey, clock, outlook, chain)
    except RouterError as error:
        if decision.last is None:
            raise
        nobody = considered(route, call.pin, decision.last, {}, _labels(decision))
        end, message = ("no_target_left", _ENDS["no_target_left"]) if chain else (error.reason, error.message)
        return Explanation(route, journey.tokens, gate, gate_reason, chain, end, message, nobody)
    return Explanation(route, journey.tokens, gate, gate_reason, chain, end, _ENDS[end], ())


def _follow(journey: Journey, clock: _Still, outlook: Outlook, chain: list[Link]) -> str:
    """Fill the chain; the result is the reason why a rule ends it. Raises ``RouterError`` where no target is left."""
    route, began = journey.route, clock.now
    rules = _Rules(outlook)
    while True:
        attempt = journey.next_attempt()
        assert attempt is not None  # noqa: S101 - nobody here takes the room that another has seen
        step = journey.step(attempt)
        try:
            rules.admit(attempt, clock.now)
        except Refused as refusal:
            if refusal.final:
                return refusal.reason
            journey.refused(step, attempt, refusal)
            continue
        clock.now = max(clock.now, attempt.starts)
        journey.sent(step)
        seen = considered(route, attempt.call.pin, step.choice, step.barred, _labels(journey.decision))
        link = Link(
            attempt.number,
            attempt.target,
            clock.now - began,
            journey.reason(step),
            attempt.forced,
            _shared(route, step.choice, seen),
        )
        chain.append(link)
        journey.failed(step, attempt, ServerFault("assumed", status=ASSUMED_STATUS))
        rules.failed(attempt, clock.now)


def at_the_gate(
    state: Mapping[str, Any], priority: Priority, tokens: int, *, has_room: bool
) -> tuple[Literal["admitted", "queued", "shed"], str | None]:
    """What the gate of this state would say, and why."""
    held, most = state["tokens_in_flight"], state["max_tokens_in_flight"]
    if not state["enabled"]:
        return "admitted", None
    if held > most * CALM and outranked(priority, (held - most * CALM) / (most * (1 - CALM))):
        return "shed", "progressive"
    if held and held + tokens > most:
        return "queued", f"{held:,} of {most:,.0f} tokens are in flight"
    ahead = sum(count for name, count in state["waiting"].items() if Priority[name.upper()] >= priority)
    if ahead:
        return "queued", f"{ahead} of this priority or a higher one wait"
    if not has_room:
        return "queued", "every target that could take it is at its limit"
    return "admitted", None


def considered(
    route: Route, pin: Pin | None, choice: Choice, barred: Mapping[Target, str], tried: Mapping[Target, str]
) -> list[Seen]:
    """Every target of the route in this choice. ``tried``: how the latest attempt of each ended, of those before it."""
    scores = dict(zip(choice.candidates, choice.scores, strict=False))  # a single one has none
    first = min((rank(target, pin) for target in choice.candidates), default=None)
    seen: list[Seen] = []
    for target in route.targets:
        score = scores.get(target)
        if target is choice.target:
            seen.append(Seen(target, "picked", score=score))
        elif target in choice.candidates:
            seen.append(Seen(target, "candidate", score=score))
        else:
            seen.append(Seen(target, "excluded", _why(target, pin, choice, barred, tried, first)))
    return seen


def _why(
    target: Target,
    pin: Pin | None,
    choice: Choice,
    barred: Mapping[Target, str],
    tried: Mapping[Target, str],
    first: tuple[int, int] | None,
) -> str:
    """In the order in which ``choose`` leaves targets out."""
    if pin is not None and target.provider.name not in pin.providers and not (pin.others and target.weight > 0):
        return "not pinned"
    if pin is None and target.weight <= 0:
        return "weight 0: reached by a pin only"
    if target in choice.excluded and not choice.forced:
        return choice.excluded[target]
    if target in barred:
        return barred[target]
    if target in tried:
        return f"tried: {tried[target]}"
    own = rank(target, pin)
    if first is None or own <= first:
        return "rests longer than others"
    return f"tier {own[1]}: after tier {first[1]}" if own[0] == first[0] else "pinned after others"


def _shared(route: Route, choice: Choice, seen: Sequence[Seen]) -> list[Seen]:
    """With the share of each candidate: the same pick, for chances that are evenly spread."""
    picks: Counter[Target] = Counter()
    if len(choice.candidates) == 1:
        picks[choice.candidates[0]] = PICKS
    else:
        pick = STRATEGIES[route.strategy].pick
        picks.update(pick(choice.candidates, choice.scores, (n + 0.5) / PICKS) for n in range(PICKS))
    return [one if one.state == "excluded" else one._replace(share=picks[one.target] / PICKS) for one in seen]


def _labels(decision: Decision) -> dict[Target, str]:
    return {tried.target: tried.label for tried in decision.tried}


_ENDS = {
    "max_attempts": "the route allows no further attempt (retry.max_attempts)",
    "deadline": "the call's time is over before a further attempt could start (timeouts.total, X-Deadline-Ms)",
    "dont_retry": "retries make up too much of what fails on this route; none are made for some seconds",
    "rate_budget": "the retry budget of the target that failed is spent (retry.budget)",
    "no_target_left": "no target is left to try",
}


class _Rules:
    """The dispatcher's, in its order, of those that can be asked without taking anything, or looked at."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self._cap = AttemptCap()
        self._deadline = Deadline()  # of its own: it takes note of whom it refuses
        self._spent: Counter[Live] = Counter()
        self._failed: dict[Live, float] = {}

    def admit(self, attempt: Attempt, now: float) -> None:
        """Raises ``Refused``."""
        route, after = attempt.route, attempt.after
        self._cap.admit(attempt, now)
        self._deadline.admit(attempt, now)
        if after is None:
            return
        if route.retry.dont_retry.enabled and self._outlook.storming(route.model, now):
            raise Refused("dont_retry", final=True)
        if not route.retry.budget.enabled or self._is_displaced(attempt, now):
            return
        balance = self._outlook.balance(after.live, now)
        if balance is not None and balance <= self._spent[after.live]:
            raise Refused("rate_budget", final=True)
        self._spent[after.live] += 1

    def failed(self, attempt: Attempt, now: float) -> None:
        self._failed[attempt.target.live] = now

    def _is_displaced(self, attempt: Attempt, now: float) -> bool:
        """A target that fails in this chain is not one that is well."""
        failed_at = self._failed.get(attempt.target.live, -inf)
        return is_displaced(attempt, now) and now - failed_at >= attempt.route.retry.budget.ttl


class _Imagined(Journey):
    """Its pauses are imagined, but it looks at the targets as they are now: what a guard is told of time, it believes."""

    def __init__(self, call: Call, route: Route, seed: int, clock: _Still) -> None:
        loop = cast("asyncio.AbstractEventLoop", clock)
        super().__init__(call, route, seed, loop, clock.time, Decision())
        began = clock.now
        self._look = lambda: began


class _Still:
    """All that an imagined journey asks of a loop: the time, which is what it is told."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now
