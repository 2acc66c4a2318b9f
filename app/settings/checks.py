"""What is right piece by piece and wrong as a whole. Each check yields its problems; none stops at the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

from app.settings.document import Document
from app.settings.model import RouteSettings, Settings
from app.settings.problems import Problem, suggestion


def cross_check(settings: Settings, document: Document) -> list[Problem]:
    return [
        *_providers(settings, document),
        *_routes(settings, document),
        *_targets(settings, document),
        *_failover(settings, document),
        *_timeouts(settings, document),
    ]


def _providers(settings: Settings, document: Document) -> Iterator[Problem]:
    seen: set[str] = set()
    used = {target.provider for route in settings.routes for target in route.targets}
    for index, provider in enumerate(settings.providers):
        path = ("providers", index, "name")
        if provider.name in seen:
            yield Problem.at(document.where(path), path, f'there is another provider named "{provider.name}"')
        elif provider.name not in used:
            message = f'no route uses the provider "{provider.name}"'
            yield Problem.at(document.where(path), path, message, "add it to a route, or remove it")
        seen.add(provider.name)
        base_url = getattr(provider.options, "base_url", None)
        if isinstance(base_url, str) and not _is_http(base_url):
            where = ("providers", index, "base_url")
            yield Problem.at(document.where(where), where, "must be http://host… or https://host…, without credentials")


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is no number
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc


def _routes(settings: Settings, document: Document) -> Iterator[Problem]:
    counted = Counter(route.model for route in settings.routes)
    for index, route in enumerate(settings.routes):
        path = ("routes", index, "model")
        if counted[route.model] > 1:
            yield Problem.at(document.where(path), path, f'there is another route for "{route.model}"')
        if not any(target.weight for target in route.targets):
            where = ("routes", index, "targets")
            yield Problem.at(document.where(where), where, "all weights are 0: nothing could ever be picked")


def _targets(settings: Settings, document: Document) -> Iterator[Problem]:
    names = [provider.name for provider in settings.providers]
    for number, route in enumerate(settings.routes):
        seen: set[tuple[str, str | None]] = set()
        for index, target in enumerate(route.targets):
            path = ("routes", number, "targets", index, "provider")
            if target.provider not in names:
                message = f'there is no provider named "{target.provider}"'
                yield Problem.at(document.where(path), path, message, suggestion(target.provider, names))
            if (target.provider, target.model) in seen:
                yield Problem.at(document.where(path), path, "the same target stands in this route already")
            seen.add((target.provider, target.model))


def _failover(settings: Settings, document: Document) -> Iterator[Problem]:
    for number, route in enumerate(settings.routes):
        attempts = settings.defaults.retry.max_attempts
        if route.retry is not None and route.retry.max_attempts is not None:
            attempts = route.retry.max_attempts
        tiers = {target.tier for target in route.targets if target.weight}
        if attempts == 1 and len(tiers) > 1:
            path = ("routes", number, "targets")
            message = f"failover cannot trigger: max_attempts is 1, so tier {max(tiers)} is never tried"
            yield Problem.at(document.where(path), path, message, "allow more attempts, or remove the tier")


def _timeouts(settings: Settings, document: Document) -> Iterator[Problem]:
    defaults = settings.defaults.timeouts.model_dump()
    yield from _excluded(defaults, ("defaults", "timeouts"), document)
    for number, route in enumerate(settings.routes):
        own = _over(defaults, route)
        if own != defaults:
            yield from _excluded(own, ("routes", number, "timeouts"), document)
        for index, target in enumerate(route.targets):
            if target.timeouts is not None:
                values = own | target.timeouts.model_dump(exclude_none=True)
                yield from _excluded(values, ("routes", number, "targets", index, "timeouts"), document)


def _over(defaults: dict[str, float], route: RouteSettings) -> dict[str, float]:
    return defaults if route.timeouts is None else defaults | route.timeouts.model_dump(exclude_none=True)


def _excluded(values: dict[str, float], path: tuple[str | int, ...], document: Document) -> Iterator[Problem]:
    """A limit that another one always cuts short."""
    pairs = [("first_token", "total"), ("idle", "total"), ("attempt", "total")]
    pairs += [("connect", "first_token"), ("connect", "attempt")]
    for inner, outer in pairs:
        if values[inner] > values[outer]:
            where = (*path, inner)
            message = f"{inner} ({values[inner]:g} s) can never pass: {outer} ({values[outer]:g} s) is shorter"
            yield Problem.at(document.where(where), where, message)
