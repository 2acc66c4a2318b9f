"""Why each of the latest requests went where it went: kept as it is, put into words when somebody asks.

    finished ─► Batch ─► Decisions ─► GET /admin/requests

No body, no header and no key is kept: an exchange that is over has none.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from time import perf_counter, time
from typing import Any, NamedTuple

from app.api.exchange import Exchange
from app.observability.ending import ending_of
from providers import Usage
from router import Decision, Pin, Route, Target
from router.decision import Step
from router.explain import Seen, considered
from router.select.choose import Choice

Json = dict[str, Any]


class Record(NamedTuple):
    """``at`` is the wall clock at the start, in seconds; the other times are seconds from there."""

    decision: Decision
    route: Route
    at: float
    started: float
    duration: float
    first_byte: float | None
    path: str
    status: int
    target: str | None
    error: str | None
    end: str
    usage: Usage | None
    experiment: str | None

    @property
    def outcome(self) -> str:
        """ok, error, truncated or cancelled, as in the metrics."""
        return ending_of(self.status, self.end, self.error, tried=bool(self.decision.tried)).outcome


class Decisions:
    """A listener that keeps the last ``most``. Of an id that came more than once, the latest."""

    def __init__(self, most: int) -> None:
        self._exchanges: deque[Exchange] = deque(maxlen=most)

    @property
    def most(self) -> int:
        return self._exchanges.maxlen or 0

    def __call__(self, exchanges: Sequence[Exchange]) -> None:
        self._exchanges.extend(
            [each for each in exchanges if each.decision is not None and each.decision.route is not None]
        )

    def __len__(self) -> int:
        return len(self._exchanges)

    def __iter__(self) -> Iterator[Record]:
        """The latest first."""
        told: set[str] = set()
        for exchange in reversed(self._exchanges):
            if exchange.request_id not in told:
                told.add(exchange.request_id)
                yield _record(exchange)

    def find(self, request_id: str) -> Record | None:
        found = (each for each in reversed(self._exchanges) if each.request_id == request_id)
        exchange = next(found, None)
        return None if exchange is None else _record(exchange)


def _record(exchange: Exchange) -> Record:
    decision = exchange.decision
    assert decision is not None  # noqa: S101 - others are not kept
    assert decision.route is not None  # noqa: S101 - nor those
    started, first_byte = exchange.started, exchange.first_byte
    return Record(
        decision,
        decision.route,
        time() - perf_counter() + started,
        started,
        exchange.ended - started,
        None if first_byte is None else first_byte - started,
        exchange.path,
        exchange.status,
        exchange.target,
        exchange.error,
        exchange.end,
        exchange.usage,
        exchange.experiment,
    )


def summary(record: Record) -> Json:
    """One line of a list."""
    return {
        "request_id": record.decision.request_id,
        "time": iso(record.at),
        "model": record.decision.model,
        "status": record.status,
        "outcome": record.outcome,
        "target": record.target,
        "route_reason": record.decision.reason,
        "attempts": [f"{tried.name}:{tried.label}" for tried in record.decision.tried],
        "duration_ms": ms(record.duration),
        "error": record.error,
    }


def described(record: Record) -> Json:
    """The whole record."""
    decision, route = record.decision, record.route
    return {
        "request_id": decision.request_id,
        "time": iso(record.at),
        "path": record.path,
        "model": decision.model,
        "route": route.model,
        "strategy": route.strategy,
        "stream": decision.stream,
        "pin": pin_text(decision.pin),
        "sticky": decision.pin is not None and decision.pin.sticky,
        "experiment": record.experiment,
        "session": decision.session is not None,
        "priority": decision.priority.name.lower(),
        "estimated_tokens": decision.tokens,
        "queued_ms": ms(decision.queued),
        "steps": [_step(record, place) for place in range(len(decision.steps))],
        "nobody": _nobody(record),
        "result": {
            "status": record.status,
            "outcome": record.outcome,
            "target": record.target,
            "route_reason": decision.reason,
            "verdict": decision.verdict,
            "error": record.error,
            "end": record.end,
            "tokens_in": None if record.usage is None else record.usage.input_tokens,
            "tokens_out": None if record.usage is None else record.usage.output_tokens,
            "duration_ms": ms(record.duration),
            "first_byte_ms": None if record.first_byte is None else ms(record.first_byte),
            "waited_ms": ms(decision.waited),
        },
    }


def _step(record: Record, place: int) -> Json:
    """``at_ms`` from the start of the request to the start of the attempt, its pause over."""
    decision = record.decision
    step = decision.steps[place]
    return {
        "number": step.number,
        "target": step.target.name_for(decision.model),
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
        "targets": [row(seen) for seen in _seen(record, step.choice, place, step)],
    }


def _nobody(record: Record) -> list[Json] | None:
    """How the targets looked where none was left; None if it did not come to that."""
    last = record.decision.last
    if last is None:
        return None
    return [row(seen) for seen in _seen(record, last, len(record.decision.steps), None)]


def _seen(record: Record, choice: Choice, place: int, step: Step | None) -> list[Seen]:
    decision = record.decision
    tried: dict[Target, str] = {
        earlier.target: earlier.label or earlier.refusal or "cancelled" for earlier in decision.steps[:place]
    }
    if step is not None and step.hedge:
        tried[decision.steps[place - 1].target] = "still running"
    return considered(record.route, decision.pin, choice, {} if step is None else step.barred, tried)


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
