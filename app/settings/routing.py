"""What a route does with its calls: strategies that have something to compare, mirrors, experiments that can be told apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import chain

from app.settings.draft import Draft
from app.settings.failover import picked
from app.settings.model import RouteSettings, Settings
from app.settings.problems import Finding, Location, nearest, twice
from app.settings.traffic import ExperimentSettings


def check(settings: Settings, draft: Draft) -> Iterator[Finding]:
    return chain.from_iterable(
        chain(_unpriced(route, ("routes", n)), _experiments(route, ("routes", n, "experiments"), draft))
        for n, route in enumerate(settings.routes)
    )


def lint(settings: Settings) -> Iterator[Finding]:
    return chain.from_iterable(
        chain(_no_choice(route, ("routes", n)), _some_unpriced(route, ("routes", n)))
        for n, route in enumerate(settings.routes)
    )


def _unpriced(route: RouteSettings, at: Location) -> Iterator[Finding]:
    if route.strategy == "cost" and route.targets and not any(target.price for _, target in picked(route.targets)):
        message = (
            "no target of the route has a price to compare; give them one, such as `price: {input: 0.15, output: 0.6}`"
        )
        yield (*at, "strategy"), message


def _some_unpriced(route: RouteSettings, at: Location) -> Iterator[Finding]:
    if route.strategy == "cost":
        for m, target in picked(route.targets):
            if target.price is None:
                yield (*at, "targets", m), "has no price, and the strategy of its route is `cost`"


def _no_choice(route: RouteSettings, at: Location) -> Iterator[Finding]:
    tiers = Counter(target.tier for _, target in picked(route.targets))
    if route.strategy != "weighted" and max(tiers.values()) == 1:
        message = f"`{route.strategy}` chooses among the targets of a tier, and each tier of this route has one"
        yield (*at, "strategy"), message


def _experiments(route: RouteSettings, at: Location, draft: Draft) -> Iterator[Finding]:
    names: list[tuple[Location, str]] = [((*at, k, "name"), each.name) for k, each in enumerate(route.experiments)]
    yield from twice("experiment", names, draft.where)
    for k, experiment in enumerate(route.experiments):
        yield from _arms(experiment, route, (*at, k, "arms"), draft)


def _arms(experiment: ExperimentSettings, route: RouteSettings, at: Location, draft: Draft) -> Iterator[Finding]:
    yield from twice("arm", [((*at, j, "name"), arm.name) for j, arm in enumerate(experiment.arms)], draft.where)
    whole = round(sum(arm.share for arm in experiment.arms), 6)
    if experiment.arms and whole != 1 and not math.isnan(whole):
        yield at, f"the shares of the arms add up to {whole:g}; together they must be 1"
    known = sorted({target.provider for target in route.targets})
    for j, arm in enumerate(experiment.arms):
        named: list[tuple[Location, str]] = [((*at, j, "providers", i), name) for i, name in enumerate(arm.providers)]
        yield from twice("provider", named, draft.where)
        for location, name in named:
            if name and all(known) and known and name not in known:
                message = f"has no target in this route; these do: {', '.join(known)}"
                yield location, message, nearest(name, known)
