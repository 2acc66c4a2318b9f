"""What each arm of an experiment has done so far: from the exchanges that are over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fastapi import APIRouter
from pydantic import BaseModel

from app.api.exchange import Exchange
from app.observability.decisions import ms
from app.observability.ending import ending_of
from app.observability.metrics import routes_of
from app.wiring import Gateway
from router.measures.quantiles import Quantiles

SAMPLES = 1000
LEAST_SAMPLES = 5


class ArmSummary(BaseModel):
    """Since the start. `errors` are not the client's; `cancelled` were left by their clients. Times to first token of the
    latest successful streams, null of fewer than 5.
    """

    arm: str
    share: float
    providers: list[str]
    requests: int
    errors: int
    cancelled: int
    first_token_p50_ms: float | None
    first_token_p95_ms: float | None


class ExperimentSummary(BaseModel):
    route: str
    experiment: str
    unit: str
    failover: bool
    arms: list[ArmSummary]


class ExperimentList(BaseModel):
    experiments: list[ExperimentSummary]


class Tally:
    __slots__ = ("cancelled", "errors", "first_token", "requests")

    def __init__(self) -> None:
        self.requests = self.errors = self.cancelled = 0
        self.first_token = Quantiles(SAMPLES, LEAST_SAMPLES)


class Arms:
    """A listener. Arms and routes come from the configuration, so there are not many."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], Tally] = {}

    def __call__(self, exchanges: Sequence[Exchange]) -> None:
        for exchange in exchanges:
            decision = exchange.decision
            if exchange.experiment is None or decision is None or decision.route is None:
                continue
            tally = self._tallies.setdefault((decision.route.model, exchange.experiment), Tally())
            ending = ending_of(exchange.status, exchange.end, exchange.error, tried=bool(decision.tried))
            tally.requests += 1
            if ending.outcome == "cancelled":
                tally.cancelled += 1
            elif ending.outcome != "ok":
                tally.errors += ending.source != "client"
            elif exchange.stream and exchange.first_byte is not None:
                tally.first_token.add(exchange.first_byte - exchange.started)

    def find(self, route: str, experiment: str, arm: str) -> Tally:
        return self._tallies.get((route, f"{experiment}={arm}")) or Tally()


def routes(gateway: Gateway, arms: Arms, fresh: Callable[[], None]) -> APIRouter:
    api = APIRouter(tags=["experiments"])

    @api.get("/admin/experiments", summary="Experiments, arm by arm")
    async def experiments() -> ExperimentList:
        fresh()
        return ExperimentList(experiments=list(_summaries(gateway, arms)))

    return api


def _summaries(gateway: Gateway, arms: Arms) -> Iterator[ExperimentSummary]:
    for route in routes_of(gateway):
        for experiment in route.experiments:
            rows = []
            for arm in experiment.arms:
                tally = arms.find(route.model, experiment.name, arm.name)
                rows.append(
                    ArmSummary(
                        arm=arm.name,
                        share=arm.share,
                        providers=list(arm.providers),
                        requests=tally.requests,
                        errors=tally.errors,
                        cancelled=tally.cancelled,
                        first_token_p50_ms=_quantile(tally, 0.5),
                        first_token_p95_ms=_quantile(tally, 0.95),
                    )
                )
            yield ExperimentSummary(
                route=route.model,
                experiment=experiment.name,
                unit=experiment.unit,
                failover=experiment.failover,
                arms=rows,
            )


def _quantile(tally: Tally, q: float) -> float | None:
    seconds = tally.first_token.quantile(q)
    return None if seconds is None else ms(seconds)
