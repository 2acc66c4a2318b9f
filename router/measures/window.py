"""Counts over the latest seconds: several counters in slices of time, the oldest of which is forgotten as time goes on."""

from __future__ import annotations

import math


class Window:
    """``counters`` counters over the last ``seconds``, in ``slices``. What is counted is forgotten a whole slice at a time, so
    the window is between ``seconds`` less a slice and ``seconds`` long. ``totals`` is to be read after ``advance``.

    Time that goes back counts in the present slice.
    """

    __slots__ = ("_ends", "_number", "_pace", "_present", "_slices", "totals")

    def __init__(self, seconds: float, slices: int, counters: int) -> None:
        self._pace = slices / seconds
        self._slices = [[0] * counters for _ in range(slices)]
        self._present = self._slices[-1]
        self._number = -1  # of the present slice: slice n begins at second n / pace
        self._ends = -math.inf  # the present slice, in seconds
        self.totals = [0] * counters

    def add(self, now: float, counter: int, amount: int = 1) -> int:
        """Count in the slice of ``now``. The result is the number of that slice, for ``take_back``."""
        if now >= self._ends:
            self.advance(now)
        self._present[counter] += amount
        self.totals[counter] += amount
        return self._number

    def take_back(self, number: int, counter: int, amount: int = 1) -> None:
        """What was counted in that slice, as if it had not been; nothing if that slice is forgotten already."""
        slices = self._slices
        if number > self._number - len(slices):
            slices[number % len(slices)][counter] -= amount
            self.totals[counter] -= amount

    def total(self, now: float, counter: int) -> int:
        self.advance(now)
        return self.totals[counter]

    def advance(self, now: float) -> None:
        """Forget what is too old at ``now``."""
        number = int(now * self._pace)
        if number <= self._number:
            return
        slices, totals = self._slices, self.totals
        for old in range(max(self._number + 1, number - len(slices) + 1), number + 1):
            forgotten = slices[old % len(slices)]
            for counter, count in enumerate(forgotten):
                if count:
                    totals[counter] -= count
                    forgotten[counter] = 0
        self._number = number
        self._present = slices[number % len(slices)]
        self._ends = (number + 1) / self._pace
