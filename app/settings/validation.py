"""A draft against the settings: what is wrong with it, told where it stands, in the file or in the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.settings.draft import Draft
from app.settings.environment import names_of, nearest_variable, variable_of
from app.settings.model import ProviderSettings, Settings
from app.settings.options import option_names
from app.settings.problems import Location, not_yet, unknown, written
from app.settings.section import Reading
from app.settings.wording import as_written, refuse, section_at, value_at
from providers import Kind

# What the configuration has in a later version, by the key's place, positions left out.
LATER = {
    *("auth", "limits", "ledger", "guardrails", "cache", "slo", "recorder"),
    *("telemetry.otlp_endpoint", "telemetry.trace_sample", "telemetry.content"),
}

# What stands in the wrong place, by that place.
_ELSEWHERE = {
    "routes[].targets[].retry": "belongs into the route: its attempts go to all of its targets",
}


def validate(draft: Draft, kinds: Mapping[str, Kind]) -> Settings | None:
    """None if anything is wrong; the draft then has the problems."""
    try:
        return Settings.model_validate(draft.data, context=Reading(kinds))
    except ValidationError as error:
        for line in error.errors(include_url=False, include_input=False):
            _report(draft, line, kinds)
    return None


def salvage(draft: Draft, kinds: Mapping[str, Kind]) -> Settings:
    """What is sound in a draft, positions unchanged. Where a value is wrong it has the default, or else "" or []."""
    return Settings.model_validate(draft.data, context=Reading(kinds, lenient=True))


def _report(draft: Draft, error: ErrorDetails, kinds: Mapping[str, Kind]) -> None:
    location = as_written(draft, error, _outside_options(error["loc"]))
    if error["type"] == "extra_forbidden" or _reaches_too_far(draft, location):
        _report_unknown(draft, location, kinds)
    else:
        refuse(draft, error, location)


def _reaches_too_far(draft: Draft, location: Location) -> bool:
    """A variable for a setting inside a plain value, such as BREAKWATER_SEED__X."""
    variable = variable_of(draft.where(location), location)
    named = all(isinstance(part, str) for part in location)  # what a list's items may hold, their kind decides
    return named and variable is not None and isinstance(value_at(draft.data, location), dict)


def _report_unknown(draft: Draft, location: Location, kinds: Mapping[str, Kind]) -> None:
    place = re.sub(r"\[\d+\]", "[]", written(location))
    if place in LATER or place in _ELSEWHERE:
        draft.refuse(location, _ELSEWHERE.get(place) or not_yet(str(location[-1])))
        return
    message, suggestion = unknown("key", str(location[-1]), _known_keys(draft, location[:-1], kinds))
    variables = {
        where
        for inner, where in draft.places.items()
        if inner[: len(location)] == location and variable_of(where, location)
    }
    if not variables:
        draft.refuse(location, message, suggestion)
    for where in sorted(variables):
        near = nearest_variable(variable_of(where, location) or "", names_of(Settings))
        draft.refuse(location, "unknown key" if near else message, near, where=where)


def _outside_options(location: Location) -> Location:
    """As the file has it: ``options`` are our own."""
    inside = location[:1] == ("providers",) and location[2:3] == ("options",)
    return (*location[:2], *location[3:]) if inside else location


def _known_keys(draft: Draft, location: Location, kinds: Mapping[str, Kind]) -> list[str]:
    section = section_at(Settings, location)
    if section is not ProviderSettings:
        return list(section.model_fields)
    kind = kinds.get(str(value_at(draft.data, location).get("kind")))
    return ["name", "kind", *(name for one in ([kind] if kind else kinds.values()) for name in option_names(one))]
