"""How the parts fit together: names that must meet, limits that exclude each other, failover that cannot trigger.

Works on what is sound in a draft; a name or a list that could not be read is "" or [] there and decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from itertools import chain

from app.settings import addresses
from app.settings.draft import Draft
from app.settings.model import MAX_ATTEMPTS, RouteSettings, Settings, TimeoutOverrides, TimeoutSettings
from app.settings.problems import Finding, Location, twice, unknown, written

# Each can only act if it is not longer than the other.
BOUNDS = (
    ("connect", "first_token"),
    ("connect", "attempt"),
    ("first_token", "total"),
    ("idle", "total"),
    ("attempt", "total"),
)

# A timeout in force: seconds, and where it was written; nowhere if it is the built-in default.
Timeouts = dict[str, tuple[float, Location | None]]


def check(settings: Settings, draft: Draft) -> None:
    """Add to the draft's problems. What has one already gets no second."""
    faulty = frozenset(draft.faulty)
    findings = chain(
        _duplicates(settings, draft),
        _unknown_providers(settings),
        _unused_providers(settings),
        _idle_routes(settings, draft),
        _failover(settings, draft, faulty),
        _timeouts(settings, draft),
        addresses.check(settings, draft),
    )
    for location, message, *suggestion in findings:
        if location not in faulty:
            draft.refuse(location, message, *suggestion)


def _duplicates(settings: Settings, draft: Draft) -> Iterator[Finding]:
    providers = [(("providers", n, "name"), provider.name) for n, provider in enumerate(settings.providers)]
    yield from twice("provider", providers, draft.where)
    routes = [(("routes", n, "model"), route.model) for n, route in enumerate(settings.routes)]
    yield from twice("route for model", routes, draft.where)
    for n, route in enumerate(settings.routes):
        targets = [
            (("routes", n, "targets", m), target.provider and f"{target.provider}/{target.model or '*'}")
            for m, target in enumerate(route.targets)
        ]
        yield from twice("target", targets, draft.where)


def _unknown_providers(settings: Settings) -> Iterator[Finding]:
    known = [provider.name for provider in settings.providers]
    if not all(known) or not known:
        return
    named: list[tuple[Location, str]] = [
        (("routes", n, "targets", m, "provider"), target.provider)
        for n, route in enumerate(settings.routes)
        for m, target in enumerate(route.targets)
    ]
    if settings.passthrough is not None:
        named.append((("passthrough", "provider"), settings.passthrough.provider))
    for location, name in named:
        if name and name not in known:
            yield location, *unknown("provider", name, known)


def _unused_providers(settings: Settings) -> Iterator[Finding]:
    routes = settings.routes
    if not routes or not all(route.targets for route in routes):
        return
    used = {target.provider for route in routes for target in route.targets}
    if settings.passthrough is not None:
        used.add(settings.passthrough.provider)
    if "" in used:
        return
    for n, provider in enumerate(settings.providers):
        if provider.name and provider.name not in used:
            yield ("providers", n), f'no route uses the provider "{provider.name}"; add a target for it, or remove it'


def _idle_routes(settings: Settings, draft: Draft) -> Iterator[Finding]:
    for n, route in enumerate(settings.routes):
        if route.targets and all(target.weight == 0 for target in route.targets):
            at: Location = ("routes", n, "targets")
            weights: list[Location] = [(*at, m, "weight") for m in range(len(route.targets))]
            by_variable = (weight for weight in weights if not draft.is_literal(weight))
            yield next(by_variable, at), "every weight of the route is 0, so nothing could ever be picked"


def _failover(settings: Settings, draft: Draft, faulty: Collection[Location]) -> Iterator[Finding]:
    """Each attempt goes to a target not tried yet, tier by tier: one with as many targets before it gets none."""
    for n, route in enumerate(settings.routes):
        if any(inner[:3] == ("routes", n, "targets") or inner[-1:] == ("max_attempts",) for inner in faulty):
            continue
        attempts, at = attempts_of(settings, n)
        tiers = sorted((target.tier, m) for m, target in enumerate(route.targets) if target.weight > 0)
        for tier, m in tiers:
            before = sum(lower < tier for lower, _ in tiers)
            if before >= attempts:
                told = f'{_counted(attempts, "attempt")}, but the route for model "{route.model}" has'
                advice = (
                    f"allow at least {before + 1}"
                    if before < MAX_ATTEMPTS
                    else f"{MAX_ATTEMPTS} are the most, so use fewer"
                )
                message = f"failover cannot trigger: {told} {_counted(before, 'target')} before tier {tier}; {advice}"
                yield at if at in draft.places else ("routes", n, "targets", m), message
                break


def attempts_of(settings: Settings, n: int) -> tuple[int, Location]:
    """How many attempts a call of route ``n`` has, and where that is said."""
    retry = settings.routes[n].retry
    if retry is not None and retry.max_attempts is not None:
        return retry.max_attempts, ("routes", n, "retry", "max_attempts")
    return settings.defaults.retry.max_attempts, ("defaults", "retry", "max_attempts")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _timeouts(settings: Settings, draft: Draft) -> Iterator[Finding]:
    outermost: Timeouts = dict.fromkeys(TimeoutSettings.model_fields, (0.0, None))
    at: Location = ("defaults", "timeouts")
    defaults = _in_force(outermost, settings.defaults.timeouts, at, draft)
    yield from _exclusions(defaults, at)
    for n, route in enumerate(settings.routes):
        yield from _route_timeouts(route, ("routes", n), defaults, draft)


def _route_timeouts(route: RouteSettings, at: Location, defaults: Timeouts, draft: Draft) -> Iterator[Finding]:
    of_route = _in_force(defaults, route.timeouts, (*at, "timeouts"), draft)
    yield from _exclusions(of_route, (*at, "timeouts"))
    for m, target in enumerate(route.targets):
        inner = (*at, "targets", m, "timeouts")
        if target.timeouts and target.timeouts.total is not None:
            yield (*inner, "total"), "bounds all attempts together, so it belongs into the route's timeouts"
        else:
            yield from _exclusions(_in_force(of_route, target.timeouts, inner, draft), inner)


def _in_force(outer: Timeouts, own: TimeoutSettings | TimeoutOverrides | None, at: Location, draft: Draft) -> Timeouts:
    values: dict[str, float] = own.model_dump(exclude_none=True) if own else {}
    # What is wrong already compares with nothing.
    values |= dict.fromkeys((name for name in outer if (*at, name) in draft.faulty), math.nan)
    return outer | {
        name: (value, (*at, name) if (*at, name) in draft.places else None) for name, value in values.items()
    }


def _exclusions(timeouts: Timeouts, at: Location) -> Iterator[Finding]:
    """What is written at this level must be able to act. What comes from outside may be cut short here."""
    for inner, outer in BOUNDS:
        (short, short_at), (long, long_at) = timeouts[inner], timeouts[outer]
        if short > long and short_at and short_at[: len(at)] == at:
            told = f"{inner} ({_told(short, short_at, at)}) is longer than {outer} ({_told(long, long_at, at)})"
            yield short_at, f"{told}, so it could never act"


def _told(seconds: float, place: Location | None, at: Location) -> str:
    if place is None:
        return f"{seconds:g} s, the default"
    return f"{seconds:g} s" if place[: len(at)] == at else f"{seconds:g} s, from {written(place[:-1])}"
