"""GET /metrics: for Prometheus as text, and for everyone else a summary in JSON. docs/METRICS.md says what is in it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from app.observability.ending import OK
from app.observability.exposition import Exposition
from app.observability.metrics import Metrics


class TargetSummary(BaseModel):
    """`requests` ended here, well or not; `attempts` and `failed_attempts` count calls to the upstream.
    `average_latency_ms` is over `requests`, null without any.
    """

    requests: int = 0
    errors: int = 0
    attempts: int = 0
    failed_attempts: int = 0
    in_flight: int = 0
    average_latency_ms: float | None = None
    average_first_token_ms: float | None = None


class MetricsSummary(BaseModel):
    """Since the start of this process. Requests are those for inference, and count when they are over; an error is
    every one that did not end well, whoever's fault it was. Times in milliseconds.
    """

    request_count: int
    error_count: int
    errors_by_source: dict[str, int]
    total_latency_ms: float
    average_latency_ms: float | None
    average_overhead_ms: float | None
    in_flight: int
    streams_truncated: int
    input_tokens: int
    output_tokens: int
    targets: dict[str, TargetSummary]


NOBODYS_FAULT = ("cancelled", "hedge_loser")
_TEXT = {"schema": {"type": "string"}}
_CONTENT = {
    "model": MetricsSummary,
    "description": "Prometheus text; OpenMetrics or a summary in JSON if `Accept` asks for it.",
    "content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT},
}


def routes(exposition: Exposition) -> APIRouter:
    api = APIRouter(tags=["metrics"])
    responses: dict[int | str, dict[str, Any]] = {200: _CONTENT}

    @api.get("/metrics", summary="What has happened since the start", response_class=Response, responses=responses)
    async def metrics(request: Request) -> Response:
        accept = request.headers.get("accept", "")
        if "application/json" in accept.lower():
            return Response(summary(exposition.read()).model_dump_json(), media_type="application/json")
        page, media_type = exposition.text(accept)
        return Response(page, headers={"content-type": media_type})

    return api


def summary(metrics: Metrics) -> MetricsSummary:
    """The same numbers, added up."""
    sources = {"gateway": 0, "provider": 0, "client": 0}
    targets: dict[str, TargetSummary] = {}
    requests = 0
    for (_, target, outcome, source), cell in metrics.requests.cells.items():
        requests += cell.value
        row = targets.setdefault(target, TargetSummary())
        row.requests += cell.value
        if outcome != OK.outcome:
            row.errors += cell.value
            sources[source] += cell.value
    for (target, outcome), cell in metrics.attempts.cells.items():
        row = targets.setdefault(target, TargetSummary())
        row.attempts += cell.value
        row.failed_attempts += 0 if outcome[0] in "23" or outcome in NOBODYS_FAULT else cell.value
    for (target,), cell in metrics.in_flight.cells.items():
        targets.setdefault(target, TargetSummary()).in_flight = cell.value
    durations = [(labels[3], cell.count, cell.sum) for labels, cell in metrics.duration.cells.items()]
    first_tokens = [(labels[3], cell.count, cell.sum) for labels, cell in metrics.first_token.cells.items()]
    for target, row in targets.items():
        row.average_latency_ms = _average_ms([one for one in durations if one[0] == target])
        row.average_first_token_ms = _average_ms([one for one in first_tokens if one[0] == target])
    overhead = [("", cell.count, cell.sum) for cell in metrics.overhead.cells.values()]
    tokens = {"input": 0, "output": 0}
    for labels, histogram in metrics.tokens.cells.items():
        tokens[labels[0]] += round(histogram.sum)
    return MetricsSummary(
        request_count=requests,
        error_count=sum(sources.values()),
        errors_by_source=sources,
        total_latency_ms=round(sum(seconds for _, _, seconds in durations) * 1000, 3),
        average_latency_ms=_average_ms(durations),
        average_overhead_ms=_average_ms(overhead),
        in_flight=sum(row.in_flight for row in targets.values()),
        streams_truncated=sum(cell.value for cell in metrics.truncated.cells.values()),
        input_tokens=tokens["input"],
        output_tokens=tokens["output"],
        targets=targets,
    )


def _average_ms(observed: list[tuple[str, int, float]]) -> float | None:
    count = sum(number for _, number, _ in observed)
    return round(sum(seconds for _, _, seconds in observed) / count * 1000, 3) if count else None
