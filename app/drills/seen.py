"""What was seen of a run: the calls as their clients saw them, and when attempts, hedges, faults and breakers happened."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from typing import Literal, NamedTuple

from router.events import AttemptStarted, BreakerMoved, Events, FaultInjected, Shed
from router.policies.breaker import OPEN
from router.sim.results import OK, Called, Results


class Span(NamedTuple):
    """From ``begins`` until just before ``ends``, on the loop's clock."""

    begins: float
    ends: float


class Times:
    """Moments, as they come."""

    def __init__(self) -> None:
        self._times = array("d")

    def add(self, at: float) -> None:
        self._times.append(at)

    def within(self, span: Span) -> int:
        return bisect_left(self._times, span.ends) - bisect_left(self._times, span.begins)


class Part(Results):
    """Of one population: what is added counts for the whole, too."""

    def __init__(self, whole: Results) -> None:
        super().__init__()
        self._whole = whole

    def add(self, called: Called) -> None:
        super().add(called)
        self._whole.add(called)


class Seen:
    """``results`` is filled by the clients, the rest by events. Figures are None where nothing came in the span; those of the
    clients are for one traffic alone if it is named.
    """

    def __init__(self) -> None:
        self.results = Results()
        self._parts: dict[str, Results] = {}
        self._reasons: dict[tuple[Span, str | None], Counter[str]] = {}
        self._attempts: defaultdict[str, Times] = defaultdict(Times)
        self._opened: defaultdict[str, Times] = defaultdict(Times)
        self._injected: defaultdict[str, Times] = defaultdict(Times)
        self._hedges = Times()
        self._shed = Times()

    def listen(self, events: Events) -> None:
        events.listen(self._attempt, AttemptStarted)
        events.listen(self._moved, BreakerMoved)
        events.listen(self._hit, FaultInjected)
        events.listen(self._refused, Shed)

    def of(self, traffic: str | None) -> Results:
        """Where the clients of this traffic put what came of their calls; those without a name among all."""
        if traffic is None:
            return self.results
        return self._parts.setdefault(traffic, Part(self.results))

    def came(self, span: Span, traffic: str | None = None) -> int:
        return self.reasons(span, traffic).total()

    def reasons(self, span: Span, traffic: str | None = None) -> Counter[str]:
        """How the calls of this span ended."""
        key = (span, traffic)
        if key not in self._reasons:
            self._reasons[key] = self.of(traffic).reasons(*span)
        return self._reasons[key]

    def goodput(self, span: Span, traffic: str | None = None) -> float | None:
        came = self.came(span, traffic)
        return self.reasons(span, traffic)[OK] / came if came else None

    def requests(self, span: Span, traffic: str | None = None) -> float:
        """How many requests to the gateway the calls of this span came to: clients may try again by themselves."""
        came = self.came(span, traffic)
        return self.of(traffic).insistence(*span) * came if came else 0.0

    def availability(self, span: Span, traffic: str | None = None) -> float | None:
        requests = self.requests(span, traffic)
        return self.reasons(span, traffic)[OK] / requests if requests else None

    def amplification(self, span: Span, traffic: str | None = None) -> float | None:
        return self.of(traffic).amplification(*span) if self.came(span, traffic) else None

    def quantile(self, q: float, span: Span, of: Literal["first", "whole"], traffic: str | None = None) -> float | None:
        value = self.of(traffic).quantile(q, *span, of=of)
        return None if math.isnan(value) else value

    def recovery(self, span: Span, to: float, window: float) -> float | None:
        """Seconds from the begin of ``span``, where the first window begins, until goodput is at least ``to`` in every window that
        is left in which anything came. None: never, or nothing came.
        """
        came: Counter[int] = Counter()
        served: Counter[int] = Counter()
        for called in self.results:
            if span.begins <= called.arrived < span.ends:
                number = int((called.arrived - span.begins) / window)
                came[number] += 1
                served[number] += called.ok
        bad = [number for number, calls in came.items() if served[number] < to * calls]
        recovered = (max(bad) + 1) * window if bad else 0.0
        return recovered if came and span.begins + recovered < span.ends else None

    def attempts(self, span: Span, server: str | None) -> int:
        return _within(self._attempts, span, server)

    def opened(self, span: Span, server: str | None) -> int:
        return _within(self._opened, span, server)

    def injected(self, span: Span, kind: str | None) -> int:
        return _within(self._injected, span, kind)

    def hedges(self, span: Span) -> int:
        return self._hedges.within(span)

    def shed(self, span: Span) -> int:
        return self._shed.within(span)

    def _attempt(self, event: AttemptStarted) -> None:
        self._attempts[_server(event.target)].add(event.at)
        if event.hedge:
            self._hedges.add(event.at)

    def _moved(self, event: BreakerMoved) -> None:
        if event.after == OPEN:
            self._opened[_server(event.target)].add(event.at)

    def _hit(self, event: FaultInjected) -> None:
        self._injected[event.kind].add(event.at)

    def _refused(self, event: Shed) -> None:
        self._shed.add(event.at)


def _within(times: dict[str, Times], span: Span, name: str | None) -> int:
    if name is not None:
        return times[name].within(span) if name in times else 0
    return sum(each.within(span) for each in times.values())


def _server(target: str) -> str:
    return target.partition("/")[0]
