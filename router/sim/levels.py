"""A number that changes over time, at known moments: how many come a second, or how fast a server is."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Levels:
    """``points``: (from second, value), rising in time; 0 before the first, and the last for ever. ``linear``: a straight line
    from each to the next. Raises ValueError for points that are none.
    """

    points: tuple[tuple[float, float], ...]
    linear: bool = False
    _begins: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        begins = tuple(begins for begins, _ in self.points)
        if not begins or any(after <= before for before, after in pairwise(begins)):
            raise ValueError("levels: one or more pairs [from second, value], each later than the one before")
        if any(value < 0 for _, value in self.points):
            raise ValueError("levels: no value may be below 0")
        object.__setattr__(self, "_begins", begins)

    @staticmethod
    def steps(*points: tuple[float, float]) -> Levels:
        return Levels(points)

    @staticmethod
    def ramp(start: float, end: float, seconds: float) -> Levels:
        """From ``start`` to ``end`` in a straight line, and then ``end``."""
        return Levels(((0.0, start), (seconds, end)), linear=True)

    @property
    def most(self) -> float:
        return max(value for _, value in self.points)

    def __call__(self, now: float) -> float:
        index = bisect_right(self._begins, now) - 1
        if index < 0:
            return 0.0
        begins, value = self.points[index]
        if not self.linear or index + 1 == len(self.points):
            return value
        ends, following = self.points[index + 1]
        return value + (following - value) * (now - begins) / (ends - begins)

    def reached(self, amount: float, begins: float) -> float:
        """When the area under the levels from ``begins`` on is ``amount``: so much has come, or has been worked off. ``begins`` for
        an amount of 0; infinite if that is never.
        """
        index = bisect_right(self._begins, begins) - 1
        now, last = begins, len(self.points) - 1
        while amount > 0:
            value = self(now)
            if index == last:
                return now + amount / value if value > 0 else math.inf
            ends, following = self.points[index + 1]
            if not self.linear or index < 0:
                following = value
            width = ends - now
            area = (value + following) / 2 * width
            if area >= amount:
                slope = (following - value) / width
                return now + 2 * amount / (value + math.sqrt(max(0.0, value * value + 2 * slope * amount)))
            amount -= area
            now = ends
            index += 1
        return now
