"""What can be expected of a run: each measure is a row, with the keys that it takes and a number made of what was seen.

A new one is a function and a row of ``MEASURES``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import Field, PlainValidator

from app.drills.seen import Seen, Span
from app.settings.scalars import NotNegative, Positive, Ratio, Text
from app.settings.section import Section

Phase = Literal["before", "during", "after"]


def _quantile(value: Any) -> float:
    """``p95`` and ``0.95`` as 0.95."""
    text = str(value)
    try:
        share = float(text[1:]) / 100 if text[:1] == "p" else float(text)
    except ValueError:
        share = math.nan
    if isinstance(value, bool) or not 0 < share < 1:
        raise ValueError("must be a quantile such as p95 or p99.9")
    return share


class InSpan(Section):
    """Held to at least one of ``at_least`` and ``at_most``, between two moments, or in a ``phase`` beside the trigger (what is done
    to the fleet); else over the whole run.
    """

    at_least: NotNegative | None = None
    at_most: NotNegative | None = None
    begins: NotNegative | None = Field(default=None, alias="from")
    ends: Positive | None = Field(default=None, alias="to")
    phase: Phase | None = None

    def holds(self, value: float | None) -> bool:
        if value is None:
            return False
        low, high = self.at_least, self.at_most
        return (low is None or value >= low) and (high is None or value <= high)

    def span(self, duration: float, trigger: Span | None) -> Span:
        match self.phase:
            case "before":
                return Span(0.0, trigger.begins if trigger else duration)
            case "during" if trigger:
                return trigger
            case "after":
                return Span(trigger.ends if trigger else 0.0, duration)
        return Span(self.begins or 0.0, self.ends or duration)


class OfClients(InSpan):
    """``traffic`` by its name; None is all of it."""

    traffic: Text | None = None


class OfTarget(InSpan):
    """``target`` is a server's name; None is all of them."""

    target: Text | None = None


class OfOne(InSpan):
    target: Text


class Quantile(OfClients):
    quantile: Annotated[float, PlainValidator(_quantile)] = 0.5


class OfFault(InSpan):
    """``kind`` of fault; None is any."""

    kind: Text | None = None


class Recovers(Section):
    """From ``within`` seconds ``after`` a moment on, until the end, goodput is at least ``to`` in every ``window``, of which
    the first begins at that moment.
    """

    after: NotNegative
    to: Annotated[Ratio, Le(1)] = 0.95
    within: NotNegative
    window: Annotated[Positive, Ge(0.001)] = 1.0

    def holds(self, value: float | None) -> bool:
        return value is not None and value <= self.within

    def span(self, duration: float, trigger: Span | None) -> Span:
        return Span(self.after, duration)


@dataclass(frozen=True, slots=True)
class Measure:
    """``measured`` gives None where there was nothing to measure, and that holds nothing. ``form`` shows a value, which is
    never above ``most``.
    """

    name: str
    options: type[Any]
    measured: Callable[[Seen, Span, Any], float | None]
    form: str = "{:.2f}"
    most: float = math.inf


def _goodput(seen: Seen, span: Span, wanted: OfClients) -> float | None:
    return seen.goodput(span, wanted.traffic)


def _availability(seen: Seen, span: Span, wanted: OfClients) -> float | None:
    return seen.availability(span, wanted.traffic)


def _amplification(seen: Seen, span: Span, wanted: OfClients) -> float | None:
    return seen.amplification(span, wanted.traffic)


def _load(seen: Seen, span: Span, wanted: OfTarget) -> float | None:
    came = seen.came(span)
    return seen.attempts(span, wanted.target) / came if came else None


def _rate(seen: Seen, span: Span, wanted: OfTarget) -> float | None:
    return seen.attempts(span, wanted.target) / (span.ends - span.begins)


def _share(seen: Seen, span: Span, wanted: OfOne) -> float | None:
    whole = seen.attempts(span, None)
    return seen.attempts(span, wanted.target) / whole if whole else None


def _extra(seen: Seen, span: Span, _: InSpan) -> float | None:
    came = seen.came(span)
    return seen.hedges(span) / came if came else None


def _shed(seen: Seen, span: Span, _: InSpan) -> float | None:
    requests = seen.requests(span)
    return seen.shed(span) / requests if requests else None


def _opened(seen: Seen, span: Span, wanted: OfTarget) -> float | None:
    return float(seen.opened(span, wanted.target))


def _injected(seen: Seen, span: Span, wanted: OfFault) -> float | None:
    return float(seen.injected(span, wanted.kind))


def _first(seen: Seen, span: Span, wanted: Quantile) -> float | None:
    return seen.quantile(wanted.quantile, span, "first", wanted.traffic)


def _whole(seen: Seen, span: Span, wanted: Quantile) -> float | None:
    return seen.quantile(wanted.quantile, span, "whole", wanted.traffic)


def _recovers(seen: Seen, span: Span, wanted: Recovers) -> float | None:
    return seen.recovery(span, wanted.to, wanted.window)


SHARE, TIMES, SECONDS, NUMBER = "{:.1%}", "{:.2f} x", "{:.3f} s", "{:.0f}"
MEASURES = {
    measure.name: measure
    for measure in (
        Measure("goodput", OfClients, _goodput, SHARE, 1.0),
        Measure("availability", OfClients, _availability, SHARE, 1.0),
        Measure("amplification", OfClients, _amplification, TIMES),
        Measure("load", OfTarget, _load, TIMES),
        Measure("rate", OfTarget, _rate, "{:.1f}/s"),
        Measure("share", OfOne, _share, SHARE, 1.0),
        Measure("hedges", InSpan, _extra, SHARE),
        Measure("shed", InSpan, _shed, SHARE),
        Measure("opened", OfTarget, _opened, NUMBER),
        Measure("injected", OfFault, _injected, NUMBER),
        Measure("ttft", Quantile, _first, SECONDS),
        Measure("latency", Quantile, _whole, SECONDS),
        Measure("recovers", Recovers, _recovers, "{:.0f} s"),
    )
}
