"""Tells the guards of faults how calls end: what they stop a fault for is what clients have seen."""

from __future__ import annotations

from collections.abc import Sequence

from app.api.exchange import Exchange
from app.observability.ending import ending_of
from router.chaos import Chaos


class Guarding:
    """A listener. Calls that their client broke off, or got wrong, say nothing about the service."""

    def __init__(self, chaos: Chaos) -> None:
        self._chaos = chaos

    def __call__(self, exchanges: Sequence[Exchange]) -> None:
        if not self._chaos.guarded:
            return
        for exchange in exchanges:
            decision = exchange.decision
            if decision is None or decision.route is None:
                continue
            ending = ending_of(exchange.status, exchange.end, exchange.error, tried=bool(decision.tried))
            if ending.source != "client":
                self._chaos.saw(ok=ending.outcome == "ok", faults=exchange.faults)
