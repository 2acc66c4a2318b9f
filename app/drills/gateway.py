"""The settings of a scenario's gateway: what its fleet makes, under its ``config``, under what the command line adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.drills.scenario import MODEL, Scenario
from app.settings import Settings, installed_kinds
from app.settings.checks import check
from app.settings.draft import Draft
from app.settings.problems import Problem
from app.settings.validation import salvage, validate

MAX_TTL = 86_400.0  # what a fault may last at most; its scenario bounds it anyway
FLAG = "--no-protections"
NO_PROVIDERS = "the fleet is what there is; name its servers in `fleet`, and in `routes` if you need"
OFF = {"enabled": False}
# What --no-protections lays over everything else. Hedges are paid from the retry budget, and go with it.
UNPROTECTED: Mapping[str, Any] = {
    "defaults": {
        "retry": {"budget": OFF, "concurrency": OFF, "throttle": OFF, "dont_retry": OFF},
        "breaker": OFF,
        "throttle": OFF,
        "concurrency": OFF,
    },
    "shedding": OFF,
}


def gateway_settings(
    scenario: Scenario, draft: Draft, overrides: Draft | None = None, *, seed: int | None = None, protected: bool = True
) -> Settings | None:
    """None if anything is wrong; the scenario's ``draft`` then has the problems, each where it was written."""
    own = _begun(scenario, draft)
    _lay(own, _config(draft))
    if overrides is not None:
        _lay(own, overrides)
    if not protected:
        _lay(own, _flag(UNPROTECTED))
        _strip(own)
    if seed is not None:
        own.put(["seed"], seed, "--seed")
    kinds = installed_kinds()
    settings = validate(own, kinds)
    check(settings or salvage(own, kinds), own)
    draft.problems += [_ours(problem, overrides) for problem in own.found()]
    return None if own.found() else settings


def _begun(scenario: Scenario, draft: Draft) -> Draft:
    """A provider for each member, and a route with all of them for each model that is asked for. A name that is missing or given
    twice is told already, and stands in nobody's way here.
    """
    own = Draft(draft.label)
    servers: dict[str, tuple[int, str]] = {}
    for n, member in enumerate(scenario.fleet):
        servers.setdefault(member.name or f"unnamed-{n}", (n, member.kind))
    servers = servers or {"unnamed": (0, "mock")}
    models = dict.fromkeys(traffic.model or MODEL for traffic in scenario.traffic) or [MODEL]
    own.data = {
        "seed": scenario.seed,
        "chaos": {"max_active": 1.0, "max_ttl": MAX_TTL},
        "providers": [{"name": name, "kind": kind} for name, (_, kind) in servers.items()],
        "routes": [{"model": model, "targets": [{"provider": name} for name in servers]} for model in models],
    }
    own.places = {(): draft.where(()), ("routes",): draft.where(("fleet",))}
    for number, (n, _) in enumerate(servers.values()):
        own.places["providers", number] = draft.where(("fleet", n))
    return own


def _config(draft: Draft) -> Draft:
    part = Draft(draft.label)
    given = draft.data.get("config")
    part.data = given if isinstance(given, dict) else {}
    part.places = {location[1:]: place for location, place in draft.places.items() if location[:1] == ("config",)}
    return part


def _flag(data: Mapping[str, Any]) -> Draft:
    part = Draft(FLAG)
    part.data = dict(data)
    return part


def _lay(under: Draft, over: Draft, at: tuple[str, ...] = ()) -> None:
    """Mappings are merged; anything else, lists too, takes the place of what was there."""
    given, there = over.data, under.data
    for part in at:
        given, there = given[part], there[part]
    for key, value in given.items():
        here = (*at, key)
        if here == ("providers",):
            continue  # refused already
        if isinstance(value, Mapping) and isinstance(there.get(key), dict):
            _lay(under, over, here)
            continue
        under.put(here, _copied(value), over.where(here))
        under.places |= {inner: place for inner, place in over.places.items() if inner[: len(here)] == here}


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _strip(draft: Draft) -> None:
    """Off in routes and targets, too."""
    protections = UNPROTECTED["defaults"]
    for route in _mappings(draft.data.get("routes")):
        route.pop("hedge", None)
        for level in (route, *_mappings(route.get("targets"))):
            for name in ("breaker", "throttle", "concurrency"):
                if name in level:
                    level[name] = dict(OFF)
        if isinstance(route.get("retry"), dict):
            route["retry"] |= {name: dict(OFF) for name in protections["retry"]}


def _mappings(value: Any) -> Sequence[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _ours(problem: Problem, overrides: Draft | None) -> Problem:
    """By the key that the scenario has for it."""
    if overrides is not None and problem.where.rpartition(":")[0] == overrides.label:
        return problem
    key = problem.key
    if key.startswith("providers["):
        return replace(problem, key=key.replace("providers", "fleet", 1))
    return replace(problem, key=f"config.{key}") if key else problem
