"""Counts over the latest seconds: several counters in slices of time, the oldest of which is forgotten as time goes on."""

from __future__ import annotations


class Window:
    """``counters`` counters over the last ``seconds``, in ``slices``. What is counted is forgotten a whole slice at a time, so
    the window is between ``seconds`` less a slice and ``seconds`` long. ``totals`` is to be read after ``advance``.

    Time that goes back a little counts in the present slice.
    """

    __slots__ = ("_pace", "_place", "_slices", "totals")

    def __init__(self, seconds: float, slices: int, counters: int) -> None:
        self._pace = slices / seconds
        self._slices = [[0] * counters for _ in range(slices)]
        self._place: int | None = None
        self.totals = [0] * counters

    def add(self, now: float, counter: int, amount: int = 1) -> None:
        """Count in the slice of ``now``."""
        place = int(now * self._pace)
        if place != self._place:
            self.advance(now)
        slices = self._slices
        slices[(self._place or 0) % len(slices)][counter] += amount
        self.totals[counter] += amount

    def total(self, now: float, counter: int) -> int:
        self.advance(now)
        return self.totals[counter]

    def advance(self, now: float) -> None:
        """Forget what is too old at ``now``."""
        place = int(now * self._pace)
        last = self._place
        if last is None:
            self._place = place
            return
        if place <= last:
            return
        slices = self._slices
        for old in range(last + 1, min(place, last + len(slices)) + 1):
            forgotten = slices[old % len(slices)]
            for counter, count in enumerate(forgotten):
                if count:
                    self.totals[counter] -= count
                    forgotten[counter] = 0
        self._place = place

    def clear(self) -> None:
        for each in self._slices:
            each[:] = [0] * len(each)
        self.totals[:] = [0] * len(self.totals)
