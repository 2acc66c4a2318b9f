"""One number a target, higher is better, never below 0. Decision records show them, so each says what it counts.

Pure, over what is known now; a target of which nothing is known gets a score like any other (LiteLLM #39970). A weight of
0 comes here only by a pin and counts as 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from router.types import Call, Live, Target

Scorer = Callable[[Call, Sequence[Target], float], list[float]]

# What a request costs besides its tokens, in tokens: the constant of VTC's profiled cost over its price of an input
# token, 1.146 / 0.210 (OSDI'24).
REQUEST_TOKENS = 5
# An average that has faded below this says nothing any more; no answer over a network begins so soon.
FADED_SECONDS = 1e-4
# Of whom nothing is known: tried at once while idle, then left alone until it has answered (Finagle's penalty). An hour
# is worse than any that is known, and still puts those with less in flight first.
UNTRIED_SECONDS = 1e-9
UNPROVEN_SECONDS = 3600.0
# The least part of a whole answer after which a stream of it would have begun.
BEGINNING = 0.01


def by_weight(_call: Call, targets: Sequence[Target], _now: float) -> list[float]:
    """The weights: each target's part of the calls, relative to the others'."""
    return [target.weight or 1.0 for target in targets]


def by_load(_call: Call, targets: Sequence[Target], _now: float) -> list[float]:
    """1 / (1 + load): 1 is idle, 0.01 has 99 tokens in flight (input + 2 x output, and 5 a request) a unit of weight."""
    scores = []
    for target in targets:
        live = target.live
        load = (live.tokens + REQUEST_TOKENS * live.in_flight) / (target.weight or 1.0)
        scores.append(1.0 / (1.0 + load))
    return scores


def by_latency(call: Call, targets: Sequence[Target], now: float) -> list[float]:
    """Weight / seconds: 4 means that a target of weight 1 is expected to begin its answer in a quarter of a second.

    The seconds are Finagle's load: the peak EWMA of the time to first content, for each call in flight and for this
    one. Refusals are in it as slow answers (Linkerd's load biaser). Nothing is known of a target that is idle: 10^9,
    it is tried; or that has calls in flight: below 0.001, it is left alone until the first of them has answered.
    """
    stream = call.request.stream
    scores = []
    for target in targets:
        live = target.live
        seconds = live.latency.estimate(stream, now)
        if seconds < FADED_SECONDS:
            seconds = _guess(live, stream, now)
        scores.append((target.weight or 1.0) / (seconds * (live.in_flight + 1)))
    return scores


def _guess(live: Live, stream: bool, now: float) -> float:
    """Seconds to first content where no stream, or no plain answer, has told. If the other kind has, a low guess from it,
    so that this kind is tried too, however many of the other are always in flight.
    """
    other = live.latency.estimate(not stream, now)
    if other >= FADED_SECONDS:
        return other * BEGINNING if stream else other
    return UNPROVEN_SECONDS if live.in_flight else UNTRIED_SECONDS


def by_price(_call: Call, targets: Sequence[Target], _now: float) -> list[float]:
    """1 / (1 + price): 1 is free, 0.5 costs 1 for a million tokens, 0 is a price that nobody knows.

    An unknown price is not a low one: such a target is picked only where no priced one is left.
    """
    return [0.0 if target.price is None else 1.0 / (1.0 + target.price) for target in targets]
