"""Quantiles of the latest samples: exact over a ring, sorted seldom, so that adding costs next to nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import ceil

FRESH = 8  # a sorted copy is used until an eighth of the samples are newer than it


class Quantiles:
    """The latest ``size`` samples. No quantile is told of fewer than ``least``, but the smallest sample always is."""

    __slots__ = ("_newer", "_samples", "_sorted", "least")

    def __init__(self, size: int = 128, least: int = 20) -> None:
        self.least = least
        self._samples: deque[float] = deque(maxlen=size)
        self._sorted: list[float] = []
        self._newer = 0

    @property
    def samples(self) -> Sequence[float]:
        """What is held, in the order in which it came."""
        return self._samples

    @property
    def count(self) -> int:
        """How many samples are held."""
        return len(self._samples)

    def add(self, value: float) -> None:
        self._samples.append(value)
        self._newer += 1

    def quantile(self, q: float) -> float | None:
        """The sample that a share ``q`` (0 to 1) of all do not exceed (nearest rank); 0.0 is the smallest of however
        few. None if there are too few. Up to an eighth of the samples may be newer than the answer.
        """
        held = len(self._samples)
        if held < self.least and (q > 0.0 or not held):
            return None
        if self._newer * FRESH >= held:
            self._sorted = sorted(self._samples)
            self._newer = 0
        ranks = len(self._sorted)
        return self._sorted[min(ranks, max(1, ceil(q * ranks))) - 1]


def quantile_of_all(parts: Sequence[Quantiles], q: float) -> float | None:
    """Of the samples of several together, exactly; None if they are too few for any of them."""
    samples = sorted(sample for part in parts for sample in part.samples)
    least = min((part.least for part in parts), default=1)
    if not samples or (len(samples) < least and q > 0.0):
        return None
    return samples[max(1, ceil(q * len(samples))) - 1]
