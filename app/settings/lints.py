"""What is allowed and probably not meant. Only sound settings are looked at; ``serve`` does not ask."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import is_dataclass
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from app.settings.checks import attempts_of
from app.settings.draft import Draft
from app.settings.model import ProviderSettings, Settings, TargetSettings
from app.settings.options import secret_names
from app.settings.problems import Finding, Location
from providers import Endpoint

# What no real key is as short as: "none", "EMPTY" and "unused" are what servers without keys are given.
MIN_SECRET = 8
_SECRET_HEADERS = ("auth", "key", "token", "secret", "cookie", "password", "credential")
_ENDPOINTS = (*(f"/{endpoint.value}" for endpoint in Endpoint), "/models")
_PORTS = {"http": 80, "https": 443}


def lint(settings: Settings, draft: Draft) -> None:
    """Add to the draft's warnings."""
    findings = chain(
        _no_failover(settings),
        _same_server(settings, draft),
        _no_time(settings, draft),
        _plain_secrets(settings, draft),
        _odd_paths(settings),
    )
    for location, message, *suggestion in findings:
        draft.warn(location, message, *suggestion)


def _no_failover(settings: Settings) -> Iterator[Finding]:
    for n, route in enumerate(settings.routes):
        attempts, at = attempts_of(settings, n)
        count = len(_picked(route.targets))
        if attempts == 1 and count > 1:
            message = f'with 1 attempt, none of the {count} targets of the route for model "{route.model}"'
            yield at, f"{message} stands in for another that fails"


def _same_server(settings: Settings, draft: Draft) -> Iterator[Finding]:
    """Other keys are other limits, so those count as another server."""
    options = {provider.name: provider.options for provider in settings.providers}
    for n, route in enumerate(settings.routes):
        first: dict[Any, int] = {}
        for m, target in _picked(route.targets):
            own = options[target.provider]
            if not hasattr(own, "base_url"):
                continue
            server = _server(own.base_url)
            key = (server, target.model or route.model, *(repr(getattr(own, name, None)) for name in secret_names(own)))
            if first.setdefault(key, m) != m:
                other = draft.where(("routes", n, "targets", first[key]))
                message = f"the same server, model and key as the target at {other}"
                yield ("routes", n, "targets", m), f"{message}: what fails there fails here too"


def _server(base_url: str) -> tuple[str, str | None, int | None, str]:
    parts = urlsplit(base_url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme), parts.path.rstrip("/")


def _no_time(settings: Settings, draft: Draft) -> Iterator[Finding]:
    """Failover from a target that hangs starts when its timeout is over, if ``total`` leaves any time."""
    for n, route in enumerate(settings.routes):
        attempts, _ = attempts_of(settings, n)
        targets = sorted((target for _, target in _picked(route.targets)), key=lambda target: target.tier)
        if attempts == 1 or len(targets) < 2:
            continue
        total, at = _total(settings, n, draft)
        first = [target for target in targets if target.tier == targets[0].tier]
        for phase, what in (("first_token", "stream"), ("attempt", "plain request")):
            seconds = [_seconds(phase, settings, n, target) for target in first]
            if min(seconds) >= total:
                message = f"a {what} that hangs never fails over: {phase} ({min(seconds):g} s)"
                yield at, f"{message} leaves nothing of total ({total:g} s)"
        for tier in sorted({target.tier for target in targets} - {targets[0].tier}):
            before = [_seconds("first_token", settings, n, target) for target in targets if target.tier < tier]
            if len(before) > 1 and min(before) < total <= sum(before):
                message = f"tier {tier} is never reached if the targets before it hang"
                yield at, f"{message}: first_token adds up to {sum(before):g} s, total is {total:g} s"
                break


def _seconds(phase: str, settings: Settings, n: int, target: TargetSettings) -> float:
    for level in (target.timeouts, settings.routes[n].timeouts, settings.defaults.timeouts):
        seconds: float | None = getattr(level, phase, None)
        if seconds is not None:
            return seconds
    raise AssertionError("defaults have every timeout")


def _total(settings: Settings, n: int, draft: Draft) -> tuple[float, Location]:
    """In seconds, and where it was written; at the route if nowhere."""
    own = settings.routes[n].timeouts
    if own is not None and own.total is not None:
        return own.total, ("routes", n, "timeouts", "total")
    at: Location = ("defaults", "timeouts", "total")
    return settings.defaults.timeouts.total, at if at in draft.places else ("routes", n)


def _plain_secrets(settings: Settings, draft: Draft) -> Iterator[Finding]:
    for n, provider in enumerate(settings.providers):
        for location, what in _written_secrets(provider, ("providers", n)):
            if draft.is_literal(location):
                name = f"{provider.name}_{location[-1]}".upper().translate(_UNDERSCORES)
                yield location, f"{what} stands here in plain text; write ${{{name}}} and set it in the environment"


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


def _picked(targets: Collection[TargetSettings]) -> list[tuple[int, TargetSettings]]:
    """Those that are reached without a pin."""
    return [(m, target) for m, target in enumerate(targets) if target.weight > 0]
