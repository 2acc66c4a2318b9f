"""One of the scored targets. The picker alone uses chance: one number in [0, 1), so that a pick can be repeated.

Position never decides: registered first is not a reason to get more (LiteLLM #37622).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from router.types import Target

Picker = Callable[[Sequence[Target], Sequence[float], float], Target]


def in_proportion(targets: Sequence[Target], scores: Sequence[float], chance: float) -> Target:
    """One of ``targets``, each with probability score / sum of scores; the first of equals if all are 0."""
    left = chance * sum(scores)
    for place, score in enumerate(scores):
        left -= score
        if left < 0:  # never by a score of 0: what is left was not below 0 before it
            return targets[place]
    scored = [place for place, score in enumerate(scores) if score]
    return targets[scored[-1] if scored else 0]  # rounding left a little at the end; or all are 0


def best(targets: Sequence[Target], scores: Sequence[float], chance: float) -> Target:
    """The highest score; equals in proportion to their weights (nginx ``least_conn`` breaks ties so)."""
    highest = max(scores)
    if scores.count(highest) == 1:
        return targets[scores.index(highest)]
    tied = [targets[place] for place, score in enumerate(scores) if score == highest]
    return in_proportion(tied, [target.weight or 1.0 for target in tied], chance)


def better_of_two(targets: Sequence[Target], scores: Sequence[float], chance: float) -> Target:
    """Two different ones at random, and the better of them; of equals, either (Mitzenmacher, the power of two choices).

    Nobody runs after the one best target with a number that is a moment old, as everyone would who picked the best.
    """
    others = len(targets) - 1
    if not others:
        return targets[0]
    spot = chance * len(targets)
    first = int(spot)
    second = int((spot - first) * others)  # what is left of chance is as uniform
    if second >= first:
        second += 1
    return targets[second] if scores[second] > scores[first] else targets[first]
