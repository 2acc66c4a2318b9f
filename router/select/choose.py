"""Filter, score, pick.

    targets of the route ─ pinned ─ not barred ─ least tried ─ soonest ─ first rank ─► score by weight ─► pick by chance

A filter narrows the list and never reorders it; a score is >= 0; the picker alone uses chance. Nothing here
waits, counts or remembers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from router.errors import UnknownPin
from router.types import Call, Pin, Route, Target

# Two rests that end so close together are the same to a client; rank decides between them.
SOON_SECONDS = 1.0


def choose(
    call: Call,
    route: Route,
    tries: Mapping[Target, int],
    barred: Collection[Target],
    not_before: Mapping[Target, float],
    chance: float,
) -> Target | None:
    """The target for the next attempt; None if nothing is left. ``chance`` in [0, 1). Raises ``UnknownPin``.

    ``not_before``: until when (on the loop's clock) a target that was tried must rest.
    """
    targets: Sequence[Target] = route.targets
    pin = call.pin
    if pin is not None:
        targets = pinned(call, route, pin)
    else:
        targets = [target for target in targets if target.weight > 0]
    if barred:
        targets = [target for target in targets if target not in barred]
    if tries:
        targets = soonest(least_tried(targets, tries), not_before)
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


def soonest(targets: Sequence[Target], not_before: Mapping[Target, float]) -> list[Target]:
    """Those whose rest ends first: a long Retry-After of one does not hold up a call that another could serve."""
    ends = [not_before.get(target, 0.0) for target in targets]
    first = min(ends, default=0.0)
    return [target for target, end in zip(targets, ends, strict=True) if end <= first + SOON_SECONDS]


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
