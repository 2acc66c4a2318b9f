"""Liveness, which depends on nothing, and readiness, which shows every target."""

from __future__ import annotations

from time import monotonic
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app.wiring import Gateway
from router import Live, Route, Target
from router.policies.breaker import Breaker
from router.policies.standing import Standing


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class TargetState(BaseModel):
    """`failures` counts in a row; `state` is failing while there are any and it is tried all the same. `breaker` is closed,
    open, half_open or forced_open; `standing` is ok, drained or disabled.
    """

    target: str
    model: str
    tier: int
    weight: float
    state: Literal["ok", "failing", "out"]
    breaker: str
    standing: str
    in_flight: int
    failures: int
    last_failure: str | None


class Readiness(BaseModel):
    status: Literal["ready", "draining", "unavailable"]
    targets: list[TargetState]


def routes(gateway: Gateway) -> APIRouter:
    api = APIRouter(tags=["health"])

    @api.get("/health", summary="Alive?")
    @api.get("/healthz", include_in_schema=False)
    @api.get("/livez", include_in_schema=False)
    @api.get("/v1/health", include_in_schema=False)
    async def health() -> Health:
        return Health()

    @api.get(
        "/ready",
        summary="Ready to serve?",
        responses={503: {"model": Readiness, "description": "Draining, or nothing can serve"}},
    )
    @api.get("/readyz", include_in_schema=False)
    @api.get("/v1/ready", include_in_schema=False)
    async def ready(response: Response) -> Readiness:
        """Unavailable if no route can serve: as a request would find it, so ejections of all of several do not count."""
        now = monotonic()  # as the event loop's
        routes = [route for route in (*gateway.routes.named.values(), gateway.routes.anything) if route is not None]
        targets = [_state(route.model, target, now) for route in routes for target in route.targets]
        status: Literal["ready", "draining", "unavailable"] = "ready"
        if gateway.draining:
            status = "draining"
        elif not any(_can_serve(route, now) for route in routes):
            status = "unavailable"
        if status != "ready":
            response.status_code = 503
            response.headers["retry-after"] = "1"
        return Readiness(status=status, targets=targets)

    return api


def _can_serve(route: Route, now: float) -> bool:
    out = [_out(target.live, now) for target in route.targets]
    return None in out or (len(out) > 1 and set(out) == {"open"})


def _out(live: Live, now: float) -> str | None:
    """Why it takes nothing at all; None if it may."""
    breaker, standing = live.guard(Breaker), live.guard(Standing)
    stands = None if standing is None else standing.state_at(now)
    if stands in ("drained", "disabled"):
        return stands
    state = None if breaker is None else breaker.state_at(now)
    return state if state in ("open", "forced_open") else None


def _state(model: str, target: Target, now: float) -> TargetState:
    live = target.live
    breaker, standing = live.guard(Breaker), live.guard(Standing)
    state = "closed" if breaker is None else breaker.state_at(now)
    stands = "ok" if standing is None else standing.state_at(now)
    return TargetState(
        target=target.id,
        model=model,
        tier=target.tier,
        weight=target.weight,
        state="out" if _out(live, now) else "failing" if live.failures else "ok",
        breaker=state,
        standing=stands,
        in_flight=live.in_flight,
        failures=live.failures,
        last_failure=live.last_failure,
    )
