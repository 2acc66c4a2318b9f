"""Why each of the latest requests went where it went: kept as it is, put into words when somebody asks.

    finished ─► Batch ─► Decisions ─► GET /admin/requests

No body, no header and no key is kept: an exchange that is over has none.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from time import perf_counter, time
from typing import Any, NamedTuple

from app.api.exchange import Exchange
from app.observability.ending import ending_of
from providers import Usage
from providers.base import Injected
from router import Decision, Pin, Priority, Route, Target
from router.decision import Step
from router.explain import Seen, considered
from router.select.choose import Choice

Json = dict[str, Any]


class Record(NamedTuple):
    """What is kept of an exchange: little, and flat, since there are many of them. ``started``, ``first_byte`` and ``ended``
    on the stopwatch, ``queued`` and ``waited`` in seconds; ``last`` is the choice that found nobody. No Decision and no
    Exchange is kept alive by it.
    """

    request_id: str
    route: Route
    model: str
    pin: Pin | None
    priority: Priority
    stream: bool
    has_session: bool
    tokens: int
    queued: float
    waited: float
    reason: str | None
    verdict: str | None
    last: Choice | None
    steps: Sequence[Step]
    path: str
    started: float
    first_byte: float | None
    ended: float
    status: int
    target: str | None
    error: str | None
    end: str
    usage: Usage | None
    experiment: str | None
    faults: Sequence[Injected]

    @property
    def at(self) -> float:
        """The wall clock at the start, in seconds."""
        return time() - perf_counter() + self.started

    @property
    def tried(self) -> list[Step]:
        """What x-attempts names: the attempts that were sent, the one that answered last."""
        return sorted((step for step in self.steps if step.sent), key=lambda step: step.label == "200")

    @property
    def outcome(self) -> str:
        """ok, error, truncated or cancelled, as in the metrics."""
        return ending_of(self.status, self.end, self.error, tried=bool(self.tried)).outcome


class Decisions:
    """A listener that keeps the last ``most``. Of an id that came more than once, the latest."""

    def __init__(self, most: int) -> None:
        self._records: deque[Record] = deque(maxlen=most)

    @property
    def most(self) -> int:
        return self._records.maxlen or 0

    def __call__(self, exchanges: Sequence[Exchange]) -> None:
        for exchange in exchanges:
            decision = exchange.decision
            if decision is not None and decision.route is not None:
                self._records.append(_record(exchange, decision, decision.route))

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        """The latest first."""
        told: set[str] = set()
        for record in reversed(self._records):
            if record.request_id not in told:
                told.add(record.request_id)
                yield record

    def find(self, request_id: str) -> Record | None:
        return next((record for record in reversed(self._records) if record.request_id == request_id), None)


def _record(exchange: Exchange, decision: Decision, route: Route) -> Record:
    return Record(
        exchange.request_id,
        route,
        decision.model,
        decision.pin,
        decision.priority,
        decision.stream,
        decision.session is not None,
        decision.tokens,
        decision.queued,
        decision.waited,
        decision.reason,
        decision.verdict,
        decision.last,
        tuple(decision.steps),
        exchange.path,
        exchange.started,
        exchange.first_byte,
        exchange.ended,
        exchange.status,
        exchange.target,
        exchange.error,
        exchange.end,
        exchange.usage,
        exchange.experiment,
        tuple(exchange.faults),
    )


def summary(record: Record) -> Json:
    """One line of a list."""
    return {
        "request_id": record.request_id,
        "time": iso(record.at),
        "model": record.model,
        "status": record.status,
        "outcome": record.outcome,
        "target": record.target,
        "route_reason": record.reason,
        "attempts": [f"{step.target.name_for(record.model)}:{step.label}" for step in record.tried],
        "duration_ms": ms(record.ended - record.started),
        "error": record.error,
    }


def described(record: Record) -> Json:
    """The whole record."""
    first_byte, route = record.first_byte, record.route
    return {
        "request_id": record.request_id,
        "time": iso(record.at),
        "path": record.path,
        "model": record.model,
        "route": route.model,
        "strategy": route.strategy,
        "stream": record.stream,
        "pin": pin_text(record.pin),
        "sticky": record.pin is not None and record.pin.sticky,
        "experiment": record.experiment,
        "session": record.has_session,
        "priority": record.priority.name.lower(),
        "estimated_tokens": record.tokens,
        "queued_ms": ms(record.queued),
        "steps": [_step(record, place) for place in range(len(record.steps))],
        "nobody": _nobody(record),
        "faults": [{"fault": each.fault, "kind": each.kind, "target": each.target} for each in record.faults],
        "result": {
            "status": record.status,
            "outcome": record.outcome,
            "target": record.target,
            "route_reason": record.reason,
            "verdict": record.verdict,
            "error": record.error,
            "end": record.end,
            "tokens_in": None if record.usage is None else record.usage.input_tokens,
            "tokens_out": None if record.usage is None else record.usage.output_tokens,
            "duration_ms": ms(record.ended - record.started),
            "first_byte_ms": None if first_byte is None else ms(first_byte - record.started),
            "waited_ms": ms(record.waited),
        },
    }


def _step(record: Record, place: int) -> Json:
    """``at_ms`` from the start of the request to the start of the attempt, its pause over."""
    step = record.steps[place]
    return {
        "number": step.number,
        "target": step.target.name_for(record.model),
        "at_ms": ms(step.began - record.started),
        "paused_ms": ms(step.paused),
        "hedge": step.hedge,
        "forced": step.choice.forced,
        "instead_of": None if step.choice.instead is None else step.choice.instead.id,
        "sent": step.sent,
        "label": step.label,
        "ms": ms(step.seconds),
        "refusal": step.refusal,
        "in_flight": step.in_flight,
        "limit": finite(step.limit),
        "targets": [row(seen) for seen in _seen(record, step.choice, place, step.barred)],
    }


def _nobody(record: Record) -> list[Json] | None:
    """How the targets looked where none was left; None if it did not come to that."""
    last = record.last
    if last is None:
        return None
    return [row(seen) for seen in _seen(record, last, len(record.steps), {})]


def _seen(record: Record, choice: Choice, place: int, barred: Mapping[Target, str]) -> list[Seen]:
    tried = {earlier.target: earlier.label or earlier.refusal or "cancelled" for earlier in record.steps[:place]}
    return considered(record.route, record.pin, choice, barred, tried)


def row(seen: Seen) -> Json:
    """One target of a choice."""
    target = seen.target
    shown: Json = {
        "target": target.id,
        "tier": target.tier,
        "weight": target.weight,
        "state": seen.state,
        "why": seen.why,
        "score": None if seen.score is None else finite(seen.score),
    }
    return shown if seen.share is None else shown | {"share": seen.share}


def pin_text(pin: Pin | None) -> str | None:
    """As the client would write it."""
    return None if pin is None else ", ".join((*pin.providers, "*") if pin.others else pin.providers)


def finite(number: float) -> float | None:
    """JSON knows no infinity."""
    return round(number, 6) if math.isfinite(number) else None


def iso(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")


def ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
