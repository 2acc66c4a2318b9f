"""What came of the calls, in columns: a run may have millions of them. By the time at which each came."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Literal, NamedTuple

OK = "ok"


class Called(NamedTuple):
    """One request as its client sees it, over all its calls to the gateway (``calls``) and whatever the gateway did for them
    (``attempts`` upstream). ``began``: when it had the first content of the last; None: never. ``reason``: "ok", or a bounded
    label for what went wrong last; ``target``: provider/model that answered. Times on the loop's clock.
    """

    arrived: float
    began: float | None
    ended: float
    ok: bool
    calls: int
    attempts: int
    reason: str
    target: str | None


class Second(NamedTuple):
    """What came from ``at`` on."""

    at: float
    arrived: int
    ok: int
    attempts: int


class Results:
    """One for each population, or one for several. In the order in which the requests were over."""

    def __init__(self) -> None:
        self._arrived, self._began, self._ended = array("d"), array("d"), array("d")
        self._calls, self._attempts = array("I"), array("I")
        self._reasons, self._targets = array("H"), array("H")
        self._labels: dict[str | None, int] = {OK: 0}

    def add(self, called: Called) -> None:
        arrived, began, ended, _, calls, attempts, reason, target = called
        self._arrived.append(arrived)
        self._began.append(math.nan if began is None else began)
        self._ended.append(ended)
        self._calls.append(calls)
        self._attempts.append(attempts)
        labels = self._labels
        self._reasons.append(labels.setdefault(reason, len(labels)))
        self._targets.append(labels.setdefault(target, len(labels)))

    def __len__(self) -> int:
        return len(self._arrived)

    def __iter__(self) -> Iterator[Called]:
        labels = list(self._labels)
        columns = (self._arrived, self._began, self._ended, self._calls, self._attempts, self._reasons, self._targets)
        for arrived, began, ended, calls, attempts, reason, target in zip(*columns, strict=True):
            first = None if math.isnan(began) else began
            label = labels[reason]
            assert label is not None  # noqa: S101 - only targets may be None
            yield Called(arrived, first, ended, reason == 0, calls, attempts, label, labels[target])

    def goodput(self, begins: float, ends: float) -> float:
        """The share served of those that came from ``begins`` on and before ``ends``; not a number if none did."""
        flags = [
            reason == 0
            for arrived, reason in zip(self._arrived, self._reasons, strict=True)
            if begins <= arrived < ends
        ]
        return sum(flags) / len(flags) if flags else math.nan

    def amplification(self, begins: float, ends: float) -> float:
        """Attempts upstream for each request that came between the two."""
        return self._mean(self._attempts, begins, ends)

    def insistence(self, begins: float, ends: float) -> float:
        """Calls to the gateway for each request: above 1 clients try again by themselves."""
        return self._mean(self._calls, begins, ends)

    def quantile(self, q: float, begins: float, ends: float, *, of: Literal["first", "whole"] = "whole") -> float:
        """Seconds from a request's arrival to its first content, or to its end, of those served; nearest rank. Not a number if
        none was.
        """
        until = self._began if of == "first" else self._ended
        rows = zip(self._arrived, until, self._reasons, strict=True)
        times = sorted(end - arrived for arrived, end, reason in rows if reason == 0 and begins <= arrived < ends)
        return times[max(0, math.ceil(q * len(times)) - 1)] if times else math.nan

    def reasons(self, begins: float, ends: float) -> Counter[str]:
        """How many ended in which way."""
        return Counter(called.reason for called in self if begins <= called.arrived < ends)

    def share(self, target: str, begins: float, ends: float) -> float:
        """Of those that were answered, how many by ``target``; not a number if none was."""
        answered = [called.target for called in self if called.ok and begins <= called.arrived < ends]
        return answered.count(target) / len(answered) if answered else math.nan

    def series(self, seconds: float = 1.0) -> list[Second]:
        """In steps of so many ``seconds`` from 0 on, without gaps."""
        counts: list[list[int]] = []
        for arrived, reason, attempts in zip(self._arrived, self._reasons, self._attempts, strict=True):
            index = int(arrived / seconds)
            while len(counts) <= index:
                counts.append([0, 0, 0])
            row = counts[index]
            row[0] += 1
            row[1] += reason == 0
            row[2] += attempts
        return [Second(index * seconds, *row) for index, row in enumerate(counts)]

    def recovered(self, after: float, to: float) -> float | None:
        """From which full second on, not before ``after``, goodput is at least ``to`` in every second in which something came,
        to the end. None: never.
        """
        since: float | None = None
        for at, arrived, ok, _ in self.series():
            if at < after or not arrived:
                continue
            if ok < to * arrived:
                since = None
            elif since is None:
                since = at
        return since

    def _mean(self, column: array[int], begins: float, ends: float) -> float:
        values = [value for arrived, value in zip(self._arrived, column, strict=True) if begins <= arrived < ends]
        return sum(values) / len(values) if values else math.nan
