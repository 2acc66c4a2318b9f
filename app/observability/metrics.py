"""What has happened since the start, in numbers: one pass over the exchanges that are over.

Label values come from the configuration, from our own tables or are ``other``. So the number of series depends on the
configuration alone: a name that a client makes up is counted under its route, ``*``, and its target, ``provider/*``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from app.api.exchange import Exchange
from app.observability.containment import Containment
from app.observability.ending import OK, OTHER, ending_of, outcome_of
from app.observability.numbers import Count, Family, Histogram, counter, gauge, histogram
from app.observability.sink import dropped
from app.wiring import Gateway
from providers import Endpoint
from router import Route, Routes, Target
from router.types import Tried

OPERATIONS = {
    f"/v1/{Endpoint.CHAT.value}": "chat",
    f"/v1/{Endpoint.COMPLETIONS.value}": "text_completion",
    f"/v1/{Endpoint.EMBEDDINGS.value}": "embeddings",
    f"/v1/{Endpoint.RESPONSES.value}": "chat",
}
# The boundaries that OpenTelemetry's GenAI conventions ask for.
SECONDS = tuple(0.01 * 2**power for power in range(14))
FIRST_TOKEN_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKENS = tuple(float(4**power) for power in range(14))
OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

# `target` is ours: the conventions' labels alone cannot tell two targets of one kind apart.
GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "target")


class _Kind(NamedTuple):
    """All that decides the labels of an exchange."""

    operation: str
    route: Route | None
    target: Target | None
    status: int
    end: str
    error: str | None


class _Cells(NamedTuple):
    """Where exchanges of one kind are counted."""

    requests: Count
    duration: Histogram
    tokens_in: Histogram
    tokens_out: Histogram
    first_token: Histogram | None  # these two only for what succeeded
    per_token: Histogram | None
    truncated: Count | None


class Metrics:
    """A listener. The families are read by ``exposition``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._routes = gateway.routes
        self._containment = Containment(gateway)
        self._cells: dict[tuple[object, ...], _Cells] = {}
        self._attempts: dict[tuple[Target, str], Count] = {}
        self.requests = counter(
            "breakwater_requests", "Requests for inference.", "route", "target", "outcome", "error_source"
        )
        self.attempts = counter("breakwater_attempts", "Calls to upstreams, by how they ended.", "target", "outcome")
        self.truncated = counter("breakwater_stream_truncated", "Answers cut after they had begun.", "target")
        self.in_flight = gauge("breakwater_inflight", "Attempts and answers that run now.", "target")
        self.unlogged = counter("breakwater_log_lines_dropped", "Lines for which a reader of the log left no room.")
        self.overhead = histogram(
            "breakwater_overhead_seconds",
            "The gateway's own time, up to the first byte of an answer.",
            OVERHEAD_SECONDS,
        )
        self.duration = histogram(
            "gen_ai_server_request_duration_seconds", "Whole requests.", SECONDS, *GEN_AI, "error_type"
        )
        self.first_token = histogram(
            "gen_ai_server_time_to_first_token_seconds", "Successful streams.", FIRST_TOKEN_SECONDS, *GEN_AI
        )
        self.per_token = histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Successful streams whose usage is known, after the first token.",
            TOKEN_SECONDS,
            *GEN_AI,
        )
        self.tokens = histogram(
            "gen_ai_client_token_usage", "Tokens per request, where known.", TOKENS, "gen_ai_token_type", *GEN_AI
        )
        self._overhead = self.overhead.at()
        for route in routes_of(gateway):  # rates need a zero to begin from
            for target in route.targets:
                self.requests.at(route.model, target.id, OK.outcome, OK.source)
                self.attempts.at(target.id, "200")
                self.truncated.at(target.id)

    @property
    def families(self) -> Sequence[Family[Count | Histogram]]:
        """In the order in which they are shown."""
        return (
            self.requests,
            self.attempts,
            self.truncated,
            self.in_flight,
            self.unlogged,
            self.overhead,
            self.duration,
            self.first_token,
            self.per_token,
            self.tokens,
            *self._containment.families,
        )

    def look(self) -> None:
        """Read what is not counted but seen: the targets' live numbers."""
        for target, live in self._gateway.lives.items():
            self.in_flight.at(target).value = live.in_flight
        self.unlogged.at().value = dropped()
        self._containment.look()

    def __call__(self, exchanges: Sequence[Exchange]) -> None:
        routes = self._current_routes()
        named, anything = routes.named, routes.anything
        for exchange in exchanges:
            decision = exchange.decision
            attempts: Sequence[Tried] = () if decision is None else decision.tried
            operation = OPERATIONS.get(exchange.path, OTHER)
            if operation is OTHER and not attempts:
                continue  # health, docs and the like
            model = exchange.model
            route = None if model is None else named.get(model, anything)
            target = attempts[-1].target if attempts else None
            kind = (operation, route, target, exchange.status, exchange.end, exchange.error)
            cells = self._cells.get(kind)
            if cells is None:
                cells = self._cells[kind] = self._find(_Kind(*kind))
            cells.requests.value += 1
            if cells.truncated is not None:
                cells.truncated.value += 1
            started, first_byte = exchange.started, exchange.first_byte
            cells.duration.observe(exchange.ended - started)
            if first_byte is not None:
                self._overhead.observe(max(0.0, first_byte - started - exchange.waited))
                if exchange.stream and cells.first_token is not None:
                    cells.first_token.observe(first_byte - started)
            usage = exchange.usage
            if usage is not None:
                cells.tokens_in.observe(usage.input_tokens)
                cells.tokens_out.observe(usage.output_tokens)
                if exchange.stream and cells.per_token and first_byte is not None and usage.output_tokens > 1:
                    cells.per_token.observe((exchange.ended - first_byte) / (usage.output_tokens - 1))
            for tried in attempts:
                count = self._attempts.get((tried.target, tried.label))
                (self._attempt(tried.target, tried.label) if count is None else count).value += 1

    def _current_routes(self) -> Routes:
        """Once they have been changed, the cells of the old ones are left alone; the counts are by label, and stay."""
        routes = self._gateway.routes
        if routes is not self._routes:
            self._routes = routes
            self._cells.clear()
            self._attempts.clear()
        return routes

    def _attempt(self, target: Target, label: str) -> Count:
        outcome = outcome_of(label)
        count = self.attempts.at(target.id, outcome)
        if outcome == label:
            self._attempts[target, label] = count
        return count

    def _find(self, kind: _Kind) -> _Cells:
        route = OTHER if kind.route is None else kind.route.model
        target, provider = OTHER, OTHER
        if kind.target is not None:
            target = kind.target.id
            kinds = {given.name: given.kind for given in self._gateway.settings.providers}
            provider = kinds.get(kind.target.provider.name, OTHER)
        ending = ending_of(kind.status, kind.end, kind.error, tried=kind.target is not None)
        labels = (kind.operation, provider, route, target)
        ok = ending is OK
        return _Cells(
            self.requests.at(route, target, ending.outcome, ending.source),
            self.duration.at(*labels, ending.error_type),
            self.tokens.at("input", *labels),
            self.tokens.at("output", *labels),
            self.first_token.at(*labels) if ok else None,
            self.per_token.at(*labels) if ok else None,
            self.truncated.at(target) if ending.outcome == "truncated" else None,
        )


def routes_of(gateway: Gateway) -> list[Route]:
    routes = (*gateway.routes.named.values(), gateway.routes.anything)
    return [route for route in routes if route is not None]
