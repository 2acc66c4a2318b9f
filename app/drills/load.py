"""A scenario file into a plan that can be run, or every problem at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.drills.checks import check
from app.drills.fault import ScenarioFault
from app.drills.gateway import gateway_settings
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

NEEDS = "`title`, `duration`, `traffic`, `fleet` and `expect`"


@dataclass(frozen=True, slots=True)
class Plan:
    """``settings`` are the gateway's. ``written`` is the file as data, ``folder`` where its own paths begin. ``trigger`` is when
    something is done to the fleet, from the first moment to the last; None: nothing is.
    """

    scenario: Scenario
    settings: Settings
    seed: int
    written: Mapping[str, Any]
    folder: Path
    trigger: Span | None


def plan(path: Path, overrides: Path | None = None, *, seed: int | None = None, protected: bool = True) -> Plan:
    """Raises ``SettingsError`` with all problems."""
    over = None if overrides is None else read(text_of(overrides, str(overrides)), str(overrides), {}, "settings")
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
    """``folder`` None: there is nothing beside it. Raises ``SettingsError`` with all problems."""
    draft = read(text, label, {}, NEEDS)
    scenario = _validated(draft)
    sound = scenario or Scenario.model_validate(draft.data, context=Reading(installed_kinds(), lenient=True))
    settings = gateway_settings(sound, draft, overrides, seed=seed, protected=protected)
    trigger = trigger_of(sound)
    check(sound, settings, draft, folder, trigger)
    found = [*draft.found(), *(overrides.found() if overrides is not None else ())]
    if found or scenario is None or settings is None:
        raise SettingsError(found)
    return Plan(scenario, settings, scenario.seed if seed is None else seed, draft.data, folder, trigger)


def trigger_of(scenario: Scenario) -> Span | None:
    """From the first fault, or fall of a server's capacity, to the end of the last."""
    spans = [Span(fault.at, min(fault.ends, scenario.duration)) for fault in scenario.faults]
    for member in scenario.fleet:
        spans += _weak(member.capacity.levels.points if member.capacity else (), scenario.duration)
    return Span(min(span.begins for span in spans), max(span.ends for span in spans)) if spans else None


def _weak(points: Sequence[tuple[float, float]], duration: float) -> list[Span]:
    """Where the capacity is below 1."""
    ends = [min(at, duration) for at, _ in points[1:]] + [duration]
    return [Span(at, end) for (at, level), end in zip(points, ends, strict=False) if level < 1 and at < end]


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
