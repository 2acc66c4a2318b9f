"""When calls come: seconds from the start, rising. Open loop: nobody waits for an answer before the next call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random


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


def varying(rate: Callable[[float], float], most: float, seconds: float, rng: Random) -> Iterator[float]:
    """Poisson with a rate that changes, never above ``most`` (Lewis and Shedler's thinning)."""
    for now in poisson(most, seconds, rng):
        if rng.random() * most < rate(now):
            yield now


def ramp(start: float, end: float, seconds: float) -> Callable[[float], float]:
    """A rate that goes from ``start`` to ``end`` in a straight line."""
    return lambda now: start + (end - start) * min(1.0, now / seconds)


def steps(*levels: tuple[float, float]) -> Callable[[float], float]:
    """A rate by levels: (from second, rate), rising in time. 0 before the first."""

    def rate(now: float) -> float:
        return next((level for begins, level in reversed(levels) if now >= begins), 0.0)

    return rate
