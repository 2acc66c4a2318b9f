"""A scenario file into a plan that can be run, or every problem at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.drills.checks import check
from app.drills.fault import ScenarioFault
from app.drills.gateway import NO_PROVIDERS, gateway_settings
from app.drills.scenario import Scenario
from app.drills.seen import Span
from app.settings import Settings, SettingsError, installed_kinds
from app.settings.document import read
from app.settings.draft import Draft
from app.settings.load import text_of
from app.settings.options import dataclass_names
from app.settings.problems import Location, unknown
from app.settings.section import Reading, keys_of
from app.settings.wording import as_written, refuse, section_at, value_at
from providers.faults import FAULTS
from router.sim.levels import Levels

NEEDS = "`title`, `duration`, `traffic`, `fleet` and `expect`"
OF_OVERRIDES = "`defaults` or `shedding`"


@dataclass(frozen=True, slots=True)
class Plan:
    """``settings`` are the gateway's. ``written`` is the file as data, ``overrides`` what was laid over its ``config``, ``folder``
    where its own paths begin. ``trigger`` is when something is done to the fleet, from the first moment to the last; None:
    nothing is.
    """

    scenario: Scenario
    settings: Settings
    seed: int
    written: Mapping[str, Any]
    overrides: Mapping[str, Any]
    protected: bool
    folder: Path
    trigger: Span | None


def plan(
    path: Path,
    overrides: Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    seed: int | None = None,
    protected: bool = True,
) -> Plan:
    """``environ`` is for the overrides: a scenario is the same everywhere, and takes nothing from it. Raises ``SettingsError`` with
    all problems.
    """
    over = None
    if overrides is not None:
        over = read(text_of(overrides, str(overrides)), str(overrides), environ or {}, OF_OVERRIDES)
    return planned(text_of(path, str(path)), str(path), path.parent, over, seed=seed, protected=protected)


def planned(
    text: str,
    label: str,
    folder: Path,
    overrides: Draft | None = None,
    *,
    seed: int | None = None,
    protected: bool = True,
) -> Plan:
    """Raises ``SettingsError`` with all problems."""
    draft = read(text, label, None, NEEDS)
    if overrides is not None and overrides.holds(("providers",)):
        overrides.refuse(("providers",), NO_PROVIDERS)
    scenario = _validated(draft)
    sound = scenario or Scenario.model_validate(draft.data, context=Reading(installed_kinds(), lenient=True))
    settings = gateway_settings(sound, draft, overrides, seed=seed, protected=protected)
    trigger = trigger_of(sound)
    check(sound, settings, draft, folder, trigger)
    found = [*draft.found(), *(overrides.found() if overrides is not None else ())]
    if found or scenario is None or settings is None:
        raise SettingsError(found)
    laid = {} if overrides is None else overrides.data
    return Plan(
        scenario, settings, scenario.seed if seed is None else seed, draft.data, laid, protected, folder, trigger
    )


def trigger_of(scenario: Scenario) -> Span | None:
    """From the first fault, or fall of a server's capacity, to the end of the last."""
    spans = [Span(fault.at, min(fault.ends, scenario.duration)) for fault in scenario.faults]
    for member in scenario.fleet:
        if member.capacity is not None:
            spans += _weak(member.capacity.levels, scenario.duration)
    return Span(min(span.begins for span in spans), max(span.ends for span in spans)) if spans else None


def _weak(capacity: Levels, duration: float) -> list[Span]:
    """Where it is below 1, on its way down and up too."""
    points = [*capacity.points, (duration, capacity.points[-1][1])]
    return [
        Span(at, min(ends, duration))
        for (at, level), (ends, following) in pairwise(points)
        if at < min(ends, duration) and (level < 1 or (capacity.linear and following < 1))
    ]


def _validated(draft: Draft) -> Scenario | None:
    try:
        return Scenario.model_validate(draft.data, context=Reading(installed_kinds()))
    except ValidationError as error:
        for line in error.errors(include_url=False, include_input=False):
            location = as_written(draft, line, _outside_knobs(line["loc"]))
            if line["type"] == "extra_forbidden":
                draft.refuse(location, *unknown("key", str(location[-1]), _known_keys(draft, location[:-1])))
            else:
                refuse(draft, line, location)
    return None


def _outside_knobs(location: Location) -> Location:
    """As the file has it: ``knobs`` are our own."""
    inside = location[:1] == ("faults",) and location[2:3] == ("knobs",)
    return (*location[:2], *location[3:]) if inside else location


def _known_keys(draft: Draft, location: Location) -> list[str]:
    section = section_at(Scenario, location)
    known = list(keys_of(section))
    if section is ScenarioFault:
        known.remove("knobs")
        row = FAULTS.get(str(value_at(draft.data, location).get("kind")))
        known += [name for one in ([row] if row else FAULTS.values()) for name in dataclass_names(one.fault)]
    return known
