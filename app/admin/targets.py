"""/admin/targets: how each target is, and what an operator can do about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field, field_validator

from app.admin.audit import Audit
from app.admin.bodies import Body, body_of, documented
from app.admin.clock import Clock, read
from app.api.errors import ApiError
from app.observability.decisions import finite, ms
from app.observability.metrics import routes_of
from app.wiring import Gateway
from router import Live, Target
from router.policies.breaker import Breaker
from router.policies.concurrency import Limiter
from router.policies.standing import Standing
from router.policies.throttle import Throttle

MOST_TTL_SECONDS = 7 * 24 * 3600.0
BREAKER_WORDS = {"open": "ejected", "forced_open": "forced_open", "half_open": "half_open"}
Kind = TypeVar("Kind")
_DATES, _MOMENTS = frozenset({"since"}), frozenset({"until", "open_until"})


class Action(Body):
    """`reason` is for those who look at it later: 1 to 200 printable characters. `ttl` in seconds, up to a week; without
    it, until somebody says otherwise.
    """

    reason: Annotated[str, Field(min_length=1, max_length=200)]
    ttl: Annotated[float, Field(gt=0, le=MOST_TTL_SECONDS)] | None = None

    @field_validator("reason")
    @classmethod
    def _says_something(cls, reason: str) -> str:
        if not reason.isprintable() or not reason.strip():
            raise ValueError("must be printable, and say something")
        return reason.strip()


class Moment(BaseModel):
    in_seconds: float
    time: str


class Membership(BaseModel):
    route: str
    weight: float
    tier: int


class Latency(BaseModel):
    """Milliseconds to the first content: of streams, and of plain answers, where it is the whole answer. Of short prompts
    where enough is known of them; null if too few have come. `estimate_ms` is what the latency strategy goes by.
    """

    p50_ms: float | None
    p95_ms: float | None
    estimate_ms: float | None


class TargetView(BaseModel):
    """`state` is ok, or why it gets less or nothing: drained, disabled, resting, ejected, forced_open, half_open, limited,
    throttled. `until`: when it may be able again, if that is known; `next_probe`: when its upstream is asked next.
    `limit` null is none; `retries_left`: what its retry budget could pay for, null before its first request.
    """

    target: str
    state: str
    since: str | None
    until: Moment | None
    next_probe: Moment | None
    routes: list[Membership]
    in_flight: int
    tokens: int
    limit: float | None
    retries_left: int | None
    streams: Latency
    plain: Latency
    guards: dict[str, dict[str, Any]]


class TargetList(BaseModel):
    targets: list[TargetView]


def routes(gateway: Gateway, audit: Audit) -> APIRouter:
    api = APIRouter(tags=["targets"])

    @api.get("/admin/targets", summary="Every target")
    async def targets() -> TargetList:
        clock = read()
        return TargetList(targets=[view(gateway, target, clock) for target in targets_of(gateway).values()])

    @api.post("/admin/targets/{target_id:path}/{action}", summary="Act on one", openapi_extra=documented(Action))
    async def act(
        request: Request,
        target_id: str,
        action: Literal["open", "close", "drain", "undrain"],
        body: Annotated[Action, Depends(body_of(Action))],
    ) -> TargetView:
        """`open` ejects it as its breaker would; where every target of a route is ejected, that does not count. `close` ends
        that, and tries again what its upstream had refused. `drain` lets it take nothing new in any case, until `undrain`.
        Streams that run are never cut.
        """
        found = targets_of(gateway)
        target = found.get(target_id)
        if target is None:
            message = f"there is no target {target_id[:256]!r}; the targets are: {', '.join(found)}"
            raise ApiError(404, message, code="unknown_target")
        if body.ttl is not None and action in ("close", "undrain"):
            raise ApiError(
                400, f"ttl: {action} is at once and for good, and takes none", code="invalid_field", param="ttl"
            )
        clock = read()
        ACTIONS[action](target.live, clock.now, body.reason, None if body.ttl is None else clock.now + body.ttl)
        shown = view(gateway, target, clock)
        audit.note(request, action, target.id, shown.state, reason=body.reason, ttl=body.ttl)
        return shown

    return api


def targets_of(gateway: Gateway) -> dict[str, Target]:
    """By provider/model: one of each, whatever the routes that name it."""
    return {target.id: target for route in routes_of(gateway) for target in route.targets}


def view(gateway: Gateway, target: Target, clock: Clock) -> TargetView:
    live, now = target.live, clock.now
    state, since = state_of(live, now)
    return TargetView(
        target=target.id,
        state=state,
        since=None if since is None else clock.date(since),
        until=_moment(live.until(now), clock),
        next_probe=_moment(gateway.prober.next_probe(target.id), clock),
        routes=list(_memberships(gateway, target.id)),
        in_flight=live.in_flight,
        tokens=live.tokens,
        limit=finite(live.limit),
        retries_left=gateway.budgets.balance_of(live, now),
        streams=_latency(live, now, stream=True),
        plain=_latency(live, now, stream=False),
        guards={guard.name: plain(guard.describe(now), clock) for guard in live.guards},
    )


def state_of(live: Live, now: float) -> tuple[str, float | None]:
    """In one word, and since when on the loop's clock if somebody has noted that."""
    standing, breaker = live.guard(Standing), live.guard(Breaker)
    if standing is not None and (state := standing.state_at(now)) != "ok":
        return state, standing.describe(now)["since"]
    if breaker is not None and (state := breaker.state_at(now)) in BREAKER_WORDS:
        return BREAKER_WORDS[state], breaker.since if breaker.state == state else breaker.open_until
    limiter, throttle = live.guard(Limiter), live.guard(Throttle)
    if limiter is not None and limiter.load and limiter.load + 1 > live.limit:
        return "limited", None
    if throttle is not None and throttle.share(now) > 0:
        return "throttled", None
    return "ok", breaker.since if breaker is not None and breaker.since else None


def plain(described: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    """What a guard says of itself, with dates in the place of the loop's clock, and no infinity."""
    shown: dict[str, Any] = {}
    for name, value in described.items():
        if isinstance(value, float) and not math.isfinite(value):
            shown[name] = None
        elif name in _DATES:
            shown[name] = clock.date(value) if value else None  # 0 is before anything happened
        elif name in _MOMENTS:
            shown[name] = clock.moment(value)
        else:
            shown[name] = value
    return shown


def _guard(live: Live, kind: type[Kind]) -> Kind:
    guard = live.guard(kind)
    assert guard is not None  # noqa: S101 - wiring gives one to every target
    return guard


def _force_open(live: Live, now: float, reason: str, until: float | None) -> None:
    _guard(live, Breaker).force_open(now, reason, until)


def _close(live: Live, now: float, reason: str, _until: float | None) -> None:
    _guard(live, Breaker).force_close(now, reason)
    _guard(live, Standing).restore(now, reason)


def _drain(live: Live, now: float, reason: str, until: float | None) -> None:
    _guard(live, Standing).drain(now, reason, until)


def _undrain(live: Live, now: float, reason: str, _until: float | None) -> None:
    _guard(live, Standing).undrain(now, reason)


ACTIONS: Mapping[str, Callable[[Live, float, str, float | None], None]] = {
    "open": _force_open,
    "close": _close,
    "drain": _drain,
    "undrain": _undrain,
}


def _memberships(gateway: Gateway, target_id: str) -> Iterator[Membership]:
    for route in routes_of(gateway):
        for target in route.targets:
            if target.id == target_id:
                yield Membership(route=route.model, weight=target.weight, tier=target.tier)


def _latency(live: Live, now: float, *, stream: bool) -> Latency:
    seconds = [live.latency.quantile(q, stream, 0) for q in (0.5, 0.95)]
    p50, p95, estimate = (
        None if value is None else ms(value) for value in (*seconds, live.latency.estimate(stream, now))
    )
    return Latency(p50_ms=p50, p95_ms=p95, estimate_ms=estimate or None)


def _moment(at: float | None, clock: Clock) -> Moment | None:
    told = clock.moment(at)
    return None if told is None else Moment(**told)
