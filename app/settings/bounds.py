"""Limits that exclude each other, and a target that two routes set up differently."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from app.settings.draft import Draft
from app.settings.levels import MISPLACED, Level, Levels, Setting
from app.settings.model import Settings
from app.settings.problems import Finding, Location, written


class Bound(NamedTuple):
    """``low`` can only act if it is not more than ``high``; ``equal``: it may be as much. ``both``: whichever of them is
    written; else a lower ``high`` cuts short what comes from outside, which is what it is for. ``words`` and ``end`` say
    what is wrong.
    """

    low: str
    high: str
    words: str = "is longer than"
    end: str = "so it could never act"
    unit: str = " s"
    equal: bool = True
    both: bool = False

    def fails(self, low: float | None, high: float | None) -> bool:
        return low is not None and high is not None and (low > high or (low == high and not self.equal))


NEITHER = "and both cannot hold"
BOUNDS = (
    Bound("timeouts.connect", "timeouts.first_token"),
    Bound("timeouts.connect", "timeouts.attempt"),
    Bound("timeouts.first_token", "timeouts.total"),
    Bound("timeouts.idle", "timeouts.total"),
    Bound("timeouts.attempt", "timeouts.total"),
    Bound("retry.backoff.base", "retry.backoff.cap"),
    Bound("retry.backoff.throttle_base", "retry.backoff.cap"),
    Bound("breaker.open_base", "breaker.open_max"),
    Bound("breaker.slow_first_token", "timeouts.first_token", "is not shorter than", equal=False),
    Bound("concurrency.min", "concurrency.max", "is more than", NEITHER, unit="", both=True),
    Bound("concurrency.min", "concurrency.initial", "is more than", NEITHER, unit="", both=True),
    Bound("concurrency.initial", "concurrency.max", "is more than", NEITHER, unit="", both=True),
)
# What a target has one of, however many routes name it. ``BY_ROUTE``: each route decides whether it counts.
SHARED = ("breaker.", "concurrency.", "throttle.", "probing.", "retry.budget.", "retry.throttle.")
BY_ROUTE = ("retry.budget", "retry.throttle")
NOT_SHARED = "breaker.max_ejected"

PROBE = Bound(
    "probing.timeout", "breaker.open_base", end="so the breaker may be half open before it is done", both=True
)


def check(settings: Settings, draft: Draft, levels: Levels) -> Iterator[Finding]:
    return chain(
        _misplaced(settings),
        chain.from_iterable(_exclusion(bound, level) for level in levels for bound in BOUNDS),
        _conflicts(settings, draft, levels),
        _queue(settings, draft, levels),
    )


def lint(levels: Levels) -> Iterator[Finding]:
    for level in levels:
        if level["probing.enabled"].value and level["breaker.enabled"].value:
            yield from _exclusion(PROBE, level)


def _misplaced(settings: Settings) -> Iterator[Finding]:
    for n, route in enumerate(settings.routes):
        for m, target in enumerate(route.targets):
            for (section, name), message in MISPLACED.items():
                if getattr(getattr(target, section), name, None) is not None:
                    yield ("routes", n, "targets", m, section, name), message


def _exclusion(bound: Bound, level: Level) -> Iterator[Finding]:
    low, high = level[bound.low], level[bound.high]
    at = low.place if level.has_own(bound.low) else high.place if bound.both and level.has_own(bound.high) else None
    if at is not None and bound.fails(low.value, high.value):
        told, than = (_told(each, name, level, bound.unit) for each, name in ((low, bound.low), (high, bound.high)))
        yield at, f"{told} {bound.words} {than}, {bound.end}"


def _told(setting: Setting, name: str, level: Level, unit: str) -> str:
    """``idle (5 s, from routes[0].timeouts)``."""
    source = ""
    if setting.place is None:
        source = ", the default"
    elif not level.has_own(name):
        source = f", from {written(setting.place[:-1])}"
    return f"{name.rpartition('.')[2]} ({setting.value:g}{unit}{source})"


def _conflicts(settings: Settings, draft: Draft, levels: Levels) -> Iterator[Finding]:
    """Routes that name one provider and model share its state, and so what that is made of."""
    first: dict[str, tuple[int, Level]] = {}
    told: set[Location] = set()
    for n, targets in enumerate(levels.targets):
        route = settings.routes[n]
        for target, level in zip(route.targets, targets, strict=True):
            target_id = route.id_of(target)
            known, other = first.setdefault(target_id, (n, level))
            for name in _differing(level, other) if known != n and target_id else ():
                at = _own_place(level, name)
                if at not in told:
                    told.add(at)
                    section, _, key = name.rpartition(".")
                    told_here, told_there = _value(level[name]), _value(other[name])
                    place = draft.where(_own_place(other, name))
                    message = f'"{target_id}" has one `{section}` for all routes, but {key} is {told_here} here'
                    yield at, f"{message} and {told_there} at {place}; give it in `defaults`, or alike in both"


def _differing(one: Level, other: Level) -> list[str]:
    if one.settings is other.settings:
        return []
    off = {
        section for section in BY_ROUTE if not (one[f"{section}.enabled"].value and other[f"{section}.enabled"].value)
    }
    return [
        name
        for name in one.settings
        if name.startswith(SHARED)
        and name != NOT_SHARED
        and name.rpartition(".")[0] not in off
        and one[name].value != other[name].value
        and not (one[name].is_wrong or other[name].is_wrong)
    ]


def _own_place(level: Level, name: str) -> Location:
    """Where the target or its route says it; else the target itself, for whom the defaults hold."""
    place = level[name].place
    return place if place is not None and place[0] == "routes" else level.at


def _value(setting: Setting) -> str:
    match setting.value:
        case None:
            text = "null"
        case bool(value):
            text = str(value).lower()
        case float(value):
            text = f"{value:g}"
        case value:
            text = str(value)
    return text if setting.place is not None else f"{text} (the default)"


def _queue(settings: Settings, draft: Draft, levels: Levels) -> Iterator[Finding]:
    at: Location = ("shedding", "queue", "timeout")
    seconds = settings.shedding.queue.timeout
    totals = [route["timeouts.total"].value for route in levels.routes]
    if draft.holds(at) and totals and all(seconds > total for total in totals):
        message = f"timeout ({seconds:g} s) is longer than any total ({max(totals):g} s), so it could never act"
        yield at, message
