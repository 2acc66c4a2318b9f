"""Liveness, which depends on nothing, and readiness, which shows every target."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app.wiring import Gateway
from router import Target


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class TargetState(BaseModel):
    """`failures` counts in a row; `state` is failing while there are any."""

    target: str
    model: str
    tier: int
    weight: float
    state: Literal["ok", "failing"]
    in_flight: int
    failures: int
    last_failure: str | None


class Readiness(BaseModel):
    status: Literal["ready", "draining"]
    targets: list[TargetState]


def routes(gateway: Gateway) -> APIRouter:
    api = APIRouter(tags=["health"])

    @api.get("/health", summary="Alive?")
    @api.get("/healthz", include_in_schema=False)
    @api.get("/livez", include_in_schema=False)
    @api.get("/v1/health", include_in_schema=False)
    async def health() -> Health:
        return Health()

    @api.get("/ready", summary="Ready to serve?", responses={503: {"model": Readiness, "description": "Draining"}})
    @api.get("/readyz", include_in_schema=False)
    @api.get("/v1/ready", include_in_schema=False)
    async def ready(response: Response) -> Readiness:
        if gateway.draining:
            response.status_code = 503
            response.headers["retry-after"] = "1"
        return Readiness(
            status="draining" if gateway.draining else "ready",
            targets=[
                _state(route.model, target)
                for route in (*gateway.routes.named.values(), gateway.routes.anything)
                if route is not None
                for target in route.targets
            ],
        )

    return api


def _state(model: str, target: Target) -> TargetState:
    live = target.live
    return TargetState(
        target=target.id,
        model=model,
        tier=target.tier,
        weight=target.weight,
        state="failing" if live.failures else "ok",
        in_flight=live.in_flight,
        failures=live.failures,
        last_failure=live.last_failure,
    )
