"""PATCH /admin/routes/{model}/weights: how a route deals its calls out, changed while it runs.

Routes are never written to: a new snapshot takes the place of the old one. Calls on their way finish on the old one, and
both share what is alive of their targets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from app.admin.audit import Audit
from app.admin.bodies import read_object
from app.admin.clock import read
from app.api.errors import ApiError
from app.settings import ANY_MODEL
from app.wiring import Gateway
from router import Route, Routes, Target
from router.events import WeightsChanged

MOST_WEIGHT = 1_000_000.0


class Weights(BaseModel):
    """By provider/model."""

    route: str
    weights: dict[str, float]


_BODY: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"type": "number", "minimum": 0, "maximum": MOST_WEIGHT},
    "examples": [{"openai/gpt-4o-mini": 90, "vllm-a": 10}],
}
_DOCUMENT = {"requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}}}


def routes(gateway: Gateway, audit: Audit) -> APIRouter:
    api = APIRouter(tags=["routes"])

    @api.patch("/admin/routes/{model:path}/weights", summary="Change a route's weights", openapi_extra=_DOCUMENT)
    async def change(model: str, request: Request) -> Weights:
        """`{"provider/model": weight}`; a provider alone stands for all its targets in the route. What is not named
        stays. Calls in flight are not affected.
        """
        route = changed(route_of(gateway.routes, model), await read_object(request))
        gateway.dispatcher.routes = with_route(gateway.routes, route)
        weights = weights_of(route)
        gateway.events.emit(WeightsChanged(read().now, model, tuple(weights.items())))
        told = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
        audit.note(request, "weights", model, told)
        return Weights(route=model, weights=weights)

    return api


def route_of(routes: Routes, model: str) -> Route:
    """By its own name, "*" is the one for any other model. Raises ``ApiError`` 404."""
    route = routes.anything if model == ANY_MODEL else routes.named.get(model)
    if route is None:
        known = [*routes.named, *([ANY_MODEL] if routes.anything is not None else [])]
        raise ApiError(
            404, f"there is no route {model[:256]!r}; the routes are: {', '.join(known)}", code="unknown_route"
        )
    return route


def changed(route: Route, given: Mapping[str, Any]) -> Route:
    """The route with these weights. Raises ``ApiError``: 404 for a target that it does not have, 400 for what is no
    weight, or if nothing would be left to pick.
    """
    if not given:
        raise ApiError(400, "name at least one target and its weight", code="invalid_field")
    known = sorted({target.id for target in route.targets} | {target.provider.name for target in route.targets})
    for name, weight in given.items():
        if name not in known:
            message = f"route {route.model!r} has no target {name[:256]!r}; it has: {', '.join(known)}"
            raise ApiError(404, message, code="unknown_target", param=name[:256])
        if not _is_weight(weight):
            message = f"{name}: a weight must be a number from 0 to {MOST_WEIGHT:,.0f}"
            raise ApiError(400, message, code="invalid_field", param=name)
    targets = tuple(_weighed(target, given) for target in route.targets)
    if not any(target.weight for target in targets):
        message = (
            "these would be weights of 0 only, and nothing would be left to pick; to stop traffic, drain the targets"
        )
        raise ApiError(400, message, code="invalid_field")
    return replace(route, targets=targets)


def with_route(routes: Routes, route: Route) -> Routes:
    if route.model == ANY_MODEL:
        return replace(routes, anything=route)
    return replace(routes, named={**routes.named, route.model: route})


def weights_of(route: Route) -> dict[str, float]:
    return {target.id: target.weight for target in route.targets}


def _weighed(target: Target, given: Mapping[str, Any]) -> Target:
    """The target's own name goes before its provider's."""
    weight = given.get(target.id, given.get(target.provider.name))
    return target if weight is None else replace(target, weight=float(weight))


def _is_weight(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and 0 <= value <= MOST_WEIGHT
    )
