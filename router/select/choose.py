"""Filter, score, pick.

    targets of the route ─ pinned ─ not barred ─ least tried ─ first rank ─► score by weight ─► pick by chance

A filter narrows the list and never reorders it; a score is >= 0; the picker alone uses chance. Nothing here
waits, counts or remembers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from router.errors import UnknownPin
from router.types import Call, Pin, Route, Target


def choose(
    call: Call, route: Route, tries: Mapping[Target, int], barred: Collection[Target], chance: float
) -> Target | None:
    """The target for the next attempt; None if nothing is left. ``chance`` in [0, 1). Raises ``UnknownPin``."""
    targets: Sequence[Target] = route.targets
    pin = call.pin
    if pin is not None:
        targets = pinned(call, route, pin)
    else:
        targets = [target for target in targets if target.weight > 0]
    if barred:
        targets = [target for target in targets if target not in barred]
    if tries:
        targets = least_tried(targets, tries)
    if len(targets) > 1:
        targets = first_rank(targets, pin)
    if len(targets) <= 1:
        return targets[0] if targets else None
    return weighted(targets, [target.weight for target in targets], chance)


def pinned(call: Call, route: Route, pin: Pin) -> list[Target]:
    """The targets of the pinned providers; with ``others``, the rest too."""
    known = {target.provider.name for target in route.targets}
    for name in pin.providers:
        if name not in known:
            raise UnknownPin(name, call.model, sorted(known))
    return [t for t in route.targets if t.provider.name in pin.providers or (pin.others and t.weight > 0)]


def least_tried(targets: Sequence[Target], tries: Mapping[Target, int]) -> list[Target]:
    """Those not tried yet; when all have been, those with the fewest tries."""
    least = min((tries.get(target, 0) for target in targets), default=0)
    return [target for target in targets if tries.get(target, 0) == least]


def first_rank(targets: Sequence[Target], pin: Pin | None) -> list[Target]:
    """The lowest tier; under a pin, the first pinned provider that is left, then the others by tier."""
    ranks = [_rank(target, pin) for target in targets]
    first = min(ranks)
    return [target for target, rank in zip(targets, ranks, strict=True) if rank == first]


def _rank(target: Target, pin: Pin | None) -> tuple[int, int]:
    if pin is None:
        return 0, target.tier
    names = pin.providers
    place = names.index(target.provider.name) if target.provider.name in names else len(names)
    return place, target.tier


def weighted(targets: Sequence[Target], scores: Sequence[float], chance: float) -> Target:
    """One of ``targets``, each with probability score / sum of scores; the first of equals if all are 0."""
    left = chance * sum(scores)
    picked = targets[0]
    for target, score in zip(targets, scores, strict=True):
        if score > 0:
            picked = target  # also the answer if rounding leaves a little at the end
            left -= score
            if left < 0:
                break
    return picked
