"""How the parts fit together: names that must meet, and what else cannot act as it is written.

Works on what is sound in a draft; a name or a list that could not be read is "" or [] there, a number NaN, and decides
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from app.settings import addresses, bounds, failover, routing
from app.settings.draft import Draft
from app.settings.levels import Levels
from app.settings.model import Settings
from app.settings.problems import Finding, Location, twice, unknown


def check(settings: Settings, draft: Draft) -> None:
    """Add to the draft's problems. What has one already gets no second."""
    faulty = frozenset(draft.faulty)
    levels = Levels(settings, draft)
    findings = chain(
        _duplicates(settings, draft),
        _unknown_providers(settings),
        _unused_providers(settings),
        _idle_routes(settings, draft),
        _unused_token(settings, draft),
        _unusable_header_faults(settings),
        failover.check(settings, draft, levels),
        bounds.check(settings, draft, levels),
        routing.check(settings, draft),
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
        targets = [(("routes", n, "targets", m), route.id_of(target)) for m, target in enumerate(route.targets)]
        yield from twice("target", targets, draft.where)


def _named_providers(settings: Settings) -> Iterator[tuple[Location, str]]:
    """Who is asked for anything, and where that is said."""
    for n, route in enumerate(settings.routes):
        for m, target in enumerate(route.targets):
            yield ("routes", n, "targets", m, "provider"), target.provider
        if route.mirror is not None:
            yield ("routes", n, "mirror", "provider"), route.mirror.provider
    if settings.passthrough is not None:
        yield ("passthrough", "provider"), settings.passthrough.provider


def _unknown_providers(settings: Settings) -> Iterator[Finding]:
    known = [provider.name for provider in settings.providers]
    if not all(known) or not known:
        return
    for location, name in _named_providers(settings):
        if name and name not in known:
            yield location, *unknown("provider", name, known)


def _unused_providers(settings: Settings) -> Iterator[Finding]:
    routes = settings.routes
    used = {name for _, name in _named_providers(settings)}
    if not routes or not all(route.targets for route in routes) or "" in used:
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


def _unused_token(settings: Settings, draft: Draft) -> Iterator[Finding]:
    at: Location = ("server", "admin_port")
    if settings.admin.token is not None and settings.server.admin_port is None and draft.holds(at):
        yield ("admin", "token"), f"nobody listens for it: server.admin_port is null at {draft.where(at)}; remove one"


def _unusable_header_faults(settings: Settings) -> Iterator[Finding]:
    if not settings.chaos.header_faults:
        return
    at: Location = ("chaos", "header_faults")
    if not settings.chaos.enabled:
        yield at, "no fault acts while chaos.enabled is false; remove one"
    elif settings.server.admin_port is None:
        yield (
            at,
            "such faults are signed with the token of the admin API, which server.admin_port: null turns off; remove one",
        )
