"""When calls come: seconds from the start, rising. Open loop: nobody waits for an answer before the next call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import NamedTuple

from providers.law import Law
from router.sim.levels import Levels

# Of a prompt, or an answer: what is drawn above it counts as that. No model has more.
MOST_TOKENS = 2_000_000


class Arrival(NamedTuple):
    """A call that comes ``at`` a time. Tokens 0 and None: no more of a prompt than there must be, and no limit to the answer."""

    at: float
    prompt_tokens: int = 0
    output_tokens: int | None = None


def regular(rate: float, seconds: float) -> Iterator[float]:
    """``rate`` a second, one like the other."""
    for number in range(int(rate * seconds)):
        yield number / rate


def poisson(rate: float, seconds: float, rng: Random) -> Iterator[float]:
    """``rate`` a second on average, each independent of all others."""
    now = rng.expovariate(rate)
    while now < seconds:
        yield now
        now += rng.expovariate(rate)


def varying(rate: Levels, seconds: float, rng: Random) -> Iterator[float]:
    """Poisson with a rate that changes (Lewis and Shedler's thinning)."""
    most = rate.most
    if most > 0:
        for now in poisson(most, seconds, rng):
            if rng.random() * most < rate(now):
                yield now


def regular_varying(rate: Levels, seconds: float) -> Iterator[float]:
    """No chance in it: the n-th comes when the rate has made up n."""
    now = rate.reached(1.0, 0.0)
    while now < seconds:
        yield now
        now = rate.reached(1.0, now)


def with_tokens(
    times: Iterable[float], prompt: Law, output: Law | None, rng: Random, *, begins: float = 0.0
) -> Iterator[Arrival]:
    """Prompts and limits to the answer as drawn; ``output`` None sets no limit. All are later by ``begins`` seconds."""
    for at in times:
        limit = None if output is None else max(1, in_tokens(output.draw(rng)))
        yield Arrival(begins + at, in_tokens(prompt.draw(rng)), limit)


def in_tokens(drawn: float) -> int:
    """A whole number of them, from 0 to ``MOST_TOKENS``."""
    return round(min(drawn, MOST_TOKENS))
