"""What is allowed and probably not meant. Only sound settings are looked at; ``serve`` does not ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from app.settings import bounds, failover, routing
from app.settings.draft import Draft
from app.settings.failover import picked
from app.settings.levels import Levels
from app.settings.model import ProviderSettings, Settings
from app.settings.options import secret_names
from app.settings.problems import Finding, Location
from app.settings.scalars import MIN_SECRET
from providers import Endpoint

_SECRET_HEADERS = ("auth", "key", "token", "secret", "cookie", "password", "credential")
_ENDPOINTS = (*(f"/{endpoint.value}" for endpoint in Endpoint), "/models")
_PORTS = {"http": 80, "https": 443}


def lint(settings: Settings, draft: Draft) -> None:
    """Add to the draft's warnings."""
    levels = Levels(settings, draft)
    findings = chain(
        failover.lint(settings, levels),
        bounds.lint(levels),
        routing.lint(settings),
        _same_server(settings, draft),
        _no_time(settings, levels),
        _plain_secrets(settings, draft),
        _odd_paths(settings),
    )
    for location, message, *suggestion in findings:
        draft.warn(location, message, *suggestion)


def _same_server(settings: Settings, draft: Draft) -> Iterator[Finding]:
    """Other keys are other limits, so those count as another server."""
    options = {provider.name: provider.options for provider in settings.providers}
    for n, route in enumerate(settings.routes):
        first: dict[Any, int] = {}
        for m, target in picked(route.targets):
            own = options[target.provider]
            if not hasattr(own, "base_url"):
                continue
            server = _server(own.base_url)
            key = (
                server,
                route.upstream_model(target),
                *(repr(getattr(own, name, None)) for name in secret_names(own)),
            )
            if first.setdefault(key, m) != m:
                other = draft.where(("routes", n, "targets", first[key]))
                message = f"the same server, model and key as the target at {other}"
                yield ("routes", n, "targets", m), f"{message}: what fails there fails here too"


def _server(base_url: str) -> tuple[str, str | None, int | None, str]:
    parts = urlsplit(base_url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme), parts.path.rstrip("/")


def _no_time(settings: Settings, levels: Levels) -> Iterator[Finding]:
    """Failover from a target that hangs starts when its timeout is over, if ``total`` leaves any time."""
    for n, route in enumerate(settings.routes):
        targets = sorted(((target.tier, m) for m, target in picked(route.targets)))
        if levels.routes[n]["retry.max_attempts"].value == 1 or len(targets) < 2:
            continue
        total, place = levels.routes[n]["timeouts.total"]
        at = place or ("routes", n)
        first = [m for tier, m in targets if tier == targets[0][0]]
        for phase, what in (("first_token", "stream"), ("attempt", "plain request")):
            seconds = min(levels.targets[n][m][f"timeouts.{phase}"].value for m in first)
            if seconds >= total:
                message = f"a {what} that hangs never fails over: {phase} ({seconds:g} s)"
                yield at, f"{message} leaves nothing of total ({total:g} s)"
        for tier in sorted({tier for tier, _ in targets[len(first) :]}):
            before = [levels.targets[n][m]["timeouts.first_token"].value for lower, m in targets if lower < tier]
            if len(before) > 1 and min(before) < total <= sum(before):
                message = f"tier {tier} is never reached if the targets before it hang"
                yield at, f"{message}: first_token adds up to {sum(before):g} s, total is {total:g} s"
                break


def _plain_secrets(settings: Settings, draft: Draft) -> Iterator[Finding]:
    found: list[tuple[Location, str, str]] = [
        (location, what, f"{provider.name}_{location[-1]}")
        for n, provider in enumerate(settings.providers)
        for location, what in _written_secrets(provider, ("providers", n))
    ]
    if settings.admin.token is not None:
        found.append((("admin", "token"), "a secret", "admin_token"))
    for location, what, name in found:
        if draft.is_literal(location):
            variable = name.upper().translate(_UNDERSCORES)
            yield location, f"{what} stands here in plain text; write ${{{variable}}} and set it in the environment"


_UNDERSCORES = str.maketrans("-.", "__")


def _written_secrets(provider: ProviderSettings, at: Location) -> Iterator[tuple[Location, str]]:
    if not is_dataclass(provider.options):
        return
    for name in secret_names(provider.options):
        value = getattr(provider.options, name)
        if isinstance(value, str) and len(value) >= MIN_SECRET:
            yield (*at, name), "a secret"
        elif isinstance(value, Mapping):
            for header, text in value.items():
                if len(text) >= MIN_SECRET and any(word in header.lower() for word in _SECRET_HEADERS):
                    yield (*at, name, header), "what looks like a secret"


def _odd_paths(settings: Settings) -> Iterator[Finding]:
    urls = {n: getattr(provider.options, "base_url", None) for n, provider in enumerate(settings.providers)}
    for n, url in urls.items():
        if not isinstance(url, str):
            continue
        bare = url.rstrip("/")
        path = urlsplit(bare).path
        endpoint = next((end for end in _ENDPOINTS if path.endswith(end)), None)
        others = [urlsplit(other).path for m, other in urls.items() if m != n and isinstance(other, str)]
        if endpoint is not None:
            message = f"ends in the path of an endpoint, which is added to it: {endpoint}{endpoint}"
            yield ("providers", n, "base_url"), message, bare.removesuffix(endpoint)
        elif not path and all(_has_version(other) for other in others):
            yield ("providers", n, "base_url"), "has no path, and most servers answer below /v1", f"{bare}/v1"


def _has_version(path: str) -> bool:
    return any(part[:1] == "v" and part[1:2].isdigit() for part in path.split("/"))
