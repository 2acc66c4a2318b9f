"""/admin/faults: what is broken on purpose now, and until when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from itertools import count
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from app.admin.audit import Audit
from app.admin.bodies import read_object
from app.admin.clock import Clock, read
from app.admin.config import law_written
from app.api.errors import ApiError
from app.settings.faults import FaultSettings, asked_of, rule_of
from app.wiring import Gateway
from providers.faults import FAULTS
from providers.law import Law
from router.chaos import Acting, FaultRefused, Stopped
from router.chaos.chaos import BY_HAND


class FaultView(BaseModel):
    """`remaining_s` until it ends by itself; `alive_s` until its dead man's switch ends it. `injected`: attempts that met it, `active`
    of them now; `overflowed`: spared, since as many as may were under one. `calls`: what its guard has seen. Once it has
    ended, `stopped` says when and `why`: expired, stopped, dead_man, slo_guard, or request_over if a request had brought it.
    """

    id: str
    kind: str
    number: str
    targets: list[str]
    share: float
    per: str
    seed: int
    route: str | None
    knobs: dict[str, Any]
    guard: dict[str, Any] | None
    reason: str
    started: str
    remaining_s: float
    alive_s: float | None
    injected: int
    active: int
    overflowed: int
    calls: dict[str, int] | None
    stopped: str | None
    why: str | None
    told: str | None


class FaultList(BaseModel):
    """`ended` are the latest that do not act any more, the last first."""

    enabled: bool
    max_active: float
    max_ttl: float
    faults: list[FaultView]
    ended: list[FaultView]


class StoppedFaults(BaseModel):
    stopped: list[str]


class Alive(BaseModel):
    id: str
    remaining_s: float
    alive_s: float | None


_DOCUMENT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["kind", "target", "ttl"]},
                "example": {"kind": "http_5xx", "target": "openai", "ttl": 60, "share": 0.5, "statuses": [503]},
            }
        },
    }
}


def routes(gateway: Gateway, audit: Audit) -> APIRouter:
    api = APIRouter(tags=["faults"])
    _told(api, gateway)
    _begun(api, gateway, audit)
    _stopped(api, gateway, audit)
    return api


def _told(api: APIRouter, gateway: Gateway) -> None:
    chaos = gateway.chaos

    @api.get("/admin/faults", summary="Faults that act, and the latest that did")
    async def faults() -> FaultList:
        clock = read()
        return FaultList(
            enabled=chaos.config.enabled,
            max_active=chaos.config.max_active,
            max_ttl=chaos.config.max_ttl,
            faults=[_view(acting, clock) for acting in chaos.acting.values()],
            ended=[_ended(stopped, clock) for stopped in reversed(chaos.stopped)],
        )

    @api.get("/admin/faults/kinds", summary="Every kind of fault, with its knobs")
    async def kinds() -> dict[str, Any]:
        return catalogue()


def _begun(api: APIRouter, gateway: Gateway, audit: Audit) -> None:
    chaos, ids = gateway.chaos, count(1)

    @api.post("/admin/faults", summary="Begin one", openapi_extra=_DOCUMENT, status_code=201)
    async def begin(request: Request) -> FaultView:
        """`kind`, `target` (provider or provider/model, or a list) and `ttl` in seconds, and what that kind's knobs are. Also: `share`
        of the attempts (0 to 1), `per` attempt, request or session, `seed`, `route`, `max_active` at once, `guard`
        (`availability`, `control`, `window`, `min_calls`), `dead_man` in seconds, `reason`, `id`.
        """
        given = await read_object(request)
        try:
            asked = asked_of(given)
            fault = asked.id or next(_free(ids, asked, gateway))
            rule = rule_of(asked, fault, gateway.lives, gateway.routes.named)
            acting = chaos.add(rule)
        except FaultRefused as refused:
            said = f"{refused.param}: {refused.message}" if refused.param else refused.message
            raise ApiError(400, said, code="fault_refused", param=refused.param or None) from None
        audit.note(
            request,
            "fault",
            ", ".join(rule.targets),
            f"{rule.kind} {rule.id}",
            reason=rule.reason or None,
            ttl=rule.ttl,
        )
        return _view(acting, read())

    @api.post("/admin/faults/{fault_id}/renew", summary="A sign of life, for the dead man's switch")
    async def renew(fault_id: str) -> Alive:
        if not chaos.renew(fault_id):
            raise _unknown(fault_id, gateway)
        view = _view(chaos.acting[fault_id], read())
        return Alive(id=fault_id, remaining_s=view.remaining_s, alive_s=view.alive_s)


def _stopped(api: APIRouter, gateway: Gateway, audit: Audit) -> None:
    chaos = gateway.chaos

    @api.post("/admin/faults/stop", summary="Stop all at once")
    async def stop_all(request: Request) -> StoppedFaults:
        stopped = chaos.stop_all()
        audit.note(request, "stop faults", ", ".join(stopped) or "none", BY_HAND)
        return StoppedFaults(stopped=stopped)

    @api.delete("/admin/faults", summary="Stop one, or all")
    async def stop(request: Request, fault_id: Annotated[str | None, Query(alias="id")] = None) -> StoppedFaults:
        """`id` is the one; without it, all."""
        for name in request.query_params.keys() - {"id"}:  # whoever means one must not stop all
            raise ApiError(400, f"{name[:64]}: is not known here; id is", code="invalid_field", param=name[:64])
        return await stop_all(request) if fault_id is None else await stop_one(request, fault_id)

    @api.delete("/admin/faults/{fault_id}", summary="Stop one")
    async def stop_one(request: Request, fault_id: str) -> StoppedFaults:
        if not chaos.stop(fault_id):
            raise _unknown(fault_id, gateway)
        audit.note(request, "stop fault", fault_id, BY_HAND)
        return StoppedFaults(stopped=[fault_id])


def _free(ids: Iterator[int], asked: FaultSettings, gateway: Gateway) -> Iterator[str]:
    """Names that say what it is, and that no other fault has."""
    for number in ids:
        name = f"{asked.kind}-{number}"
        if name not in gateway.chaos.acting:
            yield name


def _unknown(fault: str, gateway: Gateway) -> ApiError:
    acting = ", ".join(gateway.chaos.acting) or "none"
    return ApiError(404, f"no fault {fault[:64]!r} acts; these do: {acting}", code="unknown_fault")


def _view(acting: Acting, clock: Clock, stopped: Stopped | None = None) -> FaultView:
    rule, watch = acting.rule, acting.watch
    return FaultView(
        id=rule.id,
        kind=rule.kind,
        number=FAULTS[rule.kind].number,
        targets=list(rule.targets),
        share=rule.share,
        per=rule.per,
        seed=rule.seed,
        route=rule.route,
        knobs=knobs_of(rule.fault),
        guard=None
        if rule.guard is None
        else {field.name: getattr(rule.guard, field.name) for field in fields(rule.guard)},
        reason=rule.reason,
        started=clock.date(acting.began),
        remaining_s=0.0 if stopped else round(acting.ends - clock.now, 3),
        alive_s=None if stopped or rule.dead_man is None else round(acting.alive_until - clock.now, 3),
        injected=acting.injected,
        active=acting.active,
        overflowed=acting.overflowed,
        calls=None if watch is None or stopped else watch.arms(clock.now),
        stopped=None if stopped is None else clock.date(stopped.at),
        why=None if stopped is None else stopped.why,
        told=None if stopped is None else stopped.told,
    )


def _ended(stopped: Stopped, clock: Clock) -> FaultView:
    return _view(stopped.acting, clock, stopped)


def knobs_of(fault: Any) -> dict[str, Any]:
    """As they are written: a distribution as one."""
    return {field.name: _written(getattr(fault, field.name)) for field in fields(fault) if field.init}


def catalogue() -> dict[str, Any]:
    """Each kind, with what is assumed where nobody says."""
    return {
        kind: {
            "number": row.number,
            "does": row.does,
            "streams": row.streams,
            "share": row.share,
            "per": row.per,
            "knobs": knobs_of(row.fault()),
        }
        for kind, row in FAULTS.items()
    }


def _written(value: Any) -> Any:
    return law_written(value) if isinstance(value, Law) else value
