"""Filter, score, pick.

    targets of the route ─ pinned ─ able ─ not barred ─ least tried ─ soonest ─ first rank ─► score ─► pick by chance

A filter narrows the list and never reorders it; what a score is and how one is picked is the route's strategy. Nothing
here waits, counts or remembers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from router.errors import UnknownPin
from router.select.strategies import STRATEGIES
from router.types import Call, Pin, Route, Target

# Two rests that end so close together are the same to a client; rank decides between them.
SOON_SECONDS = 1.0
HALF_OPEN_FULL = "half_open_full"
# What a breaker says of itself. One that an operator opened is meant to be out, whatever the others do.
EJECTED = frozenset({"breaker_open", HALF_OPEN_FULL})
AT_LIMIT = "at_its_limit"
RATE_LIMITED = "rate_limited"
_NONE: Mapping[Target, str] = {}


class Choice(NamedTuple):
    """Why this target. ``candidates`` are what the strategy picked from, with its ``scores`` (none for a single one);
    ``excluded`` says for the others of the call why not, where it was for their state. ``forced``: all were ejected, so
    that did not count. ``instead``: who would have been picked if all had been able.
    """

    target: Target | None
    candidates: Sequence[Target]
    scores: Sequence[float] = ()
    excluded: Mapping[Target, str] = _NONE
    forced: bool = False
    instead: Target | None = None


def choose(
    call: Call,
    route: Route,
    tries: Mapping[Target, int],
    barred: Collection[Target],
    not_before: Mapping[Target, float],
    chance: Callable[[], float],
    now: float,
) -> Choice:
    """The target for the next attempt; None if nothing is left. ``chance`` gives a number in
    [0, 1), and is asked only where there is a choice. Raises ``UnknownPin``.

    ``not_before``: until when (on the loop's clock) a target that was tried must rest.
    """
    pin = call.pin
    eligible: Sequence[Target] = route.picked if pin is None else pinned(call, route, pin)
    excluded = unable(call, eligible, tries, now)
    able = eligible
    forced = False
    if excluded:
        forced = (
            pin is None
            and len(eligible) > 1
            and EJECTED.issuperset(excluded.values())
            and len(excluded) == len(eligible)
        )
        if not forced:
            able = [target for target in eligible if target not in excluded]
    left = [target for target in able if target not in barred] if barred else able
    candidates, scores, target = _pick(call, route, left, tries, not_before, chance, now)
    if not excluded or target is None:
        return Choice(target, candidates, scores, excluded, forced)
    _, _, instead = _pick(call, route, eligible, tries, not_before, chance, now)
    return Choice(target, candidates, scores, excluded, forced, instead if instead is not target else None)


def _pick(
    call: Call,
    route: Route,
    targets: Sequence[Target],
    tries: Mapping[Target, int],
    not_before: Mapping[Target, float],
    chance: Callable[[], float],
    now: float,
) -> tuple[Sequence[Target], Sequence[float], Target | None]:
    if tries:
        targets = soonest(least_tried(targets, tries), not_before)
    if len(targets) > 1:
        targets = first_rank(targets, call.pin)
    if len(targets) <= 1:
        return targets, (), targets[0] if targets else None
    strategy = STRATEGIES[route.strategy]
    scores = strategy.score(call, targets, now)
    return targets, scores, strategy.pick(targets, scores, chance())


def pinned(call: Call, route: Route, pin: Pin) -> list[Target]:
    """The targets of the pinned providers; with ``others``, the rest too."""
    known = {target.provider.name for target in route.targets}
    for name in pin.providers:
        if name not in known:
            raise UnknownPin(name, call.model, sorted(known))
    return [t for t in route.targets if t.provider.name in pin.providers or (pin.others and t.weight > 0)]


def unable(call: Call, targets: Sequence[Target], tries: Mapping[Target, int], now: float) -> Mapping[Target, str]:
    """Those that cannot take ``call`` now, and why."""
    excluded: dict[Target, str] | None = None
    for target in targets:
        reason = target.live.refusal(call, now)
        if reason is not None and not (reason == RATE_LIMITED and target in tries):  # the call knows its own wait
            excluded = excluded or {}
            excluded[target] = reason
    return excluded or _NONE


def least_tried(targets: Sequence[Target], tries: Mapping[Target, int]) -> list[Target]:
    """Those not tried yet; when all have been, those with the fewest tries."""
    least = min((tries.get(target, 0) for target in targets), default=0)
    return [target for target in targets if tries.get(target, 0) == least]


def soonest(targets: Sequence[Target], not_before: Mapping[Target, float]) -> list[Target]:
    """Those whose rest ends first: a long Retry-After of one does not hold up a call that another could serve."""
    ends = [not_before.get(target, 0.0) for target in targets]
    first = min(ends, default=0.0)
    return [target for target, end in zip(targets, ends, strict=True) if end <= first + SOON_SECONDS]


def first_rank(targets: Sequence[Target], pin: Pin | None) -> list[Target]:
    """The lowest tier; under a pin, the first pinned provider that is left, then the others by tier."""
    ranks = [rank(target, pin) for target in targets]
    first = min(ranks)
    return [target for target, place in zip(targets, ranks, strict=True) if place == first]


def rank(target: Target, pin: Pin | None) -> tuple[int, int]:
    if pin is None:
        return 0, target.tier
    names = pin.providers
    place = names.index(target.provider.name) if target.provider.name in names else len(names)
    return place, target.tier
