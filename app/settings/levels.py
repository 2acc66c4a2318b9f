"""What is in force at each level, the defaults, the routes and their targets, and where each value was written.

For the checks, which tell people the place; what runs asks ``in_force``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.settings.draft import Draft
from app.settings.model import DefaultsSettings, RouteSettings, Settings, TargetSettings
from app.settings.problems import Location
from app.settings.section import Section

_SECTIONS = ("timeouts", "retry", "breaker", "concurrency", "throttle", "probing")
# What a target cannot have, and why.
MISPLACED = {
    ("timeouts", "total"): "bounds all attempts together, so it belongs into the route's timeouts",
    ("breaker", "max_ejected"): "is a share of the route's targets, so it belongs into the route's breaker",
}


class Setting(NamedTuple):
    """``place`` None: nobody wrote it. A value that is wrong is NaN, which compares with nothing."""

    value: Any
    place: Location | None

    @property
    def is_wrong(self) -> bool:
        return isinstance(self.value, float) and math.isnan(self.value)


@dataclass(frozen=True, slots=True)
class Level:
    """``at`` is ("defaults",), ("routes", n) or ("routes", n, "targets", m); names are such as "retry.backoff.cap"."""

    at: Location
    settings: Mapping[str, Setting]

    def __getitem__(self, name: str) -> Setting:
        return self.settings[name]

    def has_own(self, name: str) -> bool:
        """Whether it was written at this level."""
        place = self.settings[name].place
        return place is not None and place[: len(self.at)] == self.at


class Levels:
    """``routes[n]`` and ``targets[n][m]`` are in the order of the settings."""

    def __init__(self, settings: Settings, draft: Draft) -> None:
        self.defaults = Level(("defaults",), dict(_written(settings.defaults, ("defaults",), draft)))
        self.routes: list[Level] = []
        self.targets: list[list[Level]] = []
        for n, route in enumerate(settings.routes):
            level = _inside(self.defaults, route, ("routes", n), draft)
            self.routes.append(level)
            self.targets.append(
                [_inside(level, target, (*level.at, "targets", m), draft) for m, target in enumerate(route.targets)]
            )

    def __iter__(self) -> Iterator[Level]:
        yield self.defaults
        for route, targets in zip(self.routes, self.targets, strict=True):
            yield route
            yield from targets


def _inside(outer: Level, own: RouteSettings | TargetSettings, at: Location, draft: Draft) -> Level:
    values = dict(_written(own, at, draft))
    return Level(at, {**outer.settings, **values} if values else outer.settings)


def _written(
    own: DefaultsSettings | RouteSettings | TargetSettings, at: Location, draft: Draft
) -> Iterator[tuple[str, Setting]]:
    for name in _SECTIONS:
        section: Section | None = getattr(own, name, None)
        for path, value in _values(section, (name,)) if section is not None else ():
            place = (*at, *path)
            if isinstance(own, TargetSettings) and path in MISPLACED:
                continue
            if place in draft.faulty:
                yield ".".join(path), Setting(math.nan, place)
            elif value is not None or isinstance(own, DefaultsSettings):
                yield ".".join(path), Setting(value, place if draft.holds(place) else None)


def _values(section: Section, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _values(value, (*path, name))
        else:
            yield (*path, name), value
