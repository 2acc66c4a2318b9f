"""A draft against the model: pydantic's errors in our words, with the line and the nearest right name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.settings.draft import Draft
from app.settings.environment import names_of, nearest_variable, variable_of
from app.settings.model import ProviderSettings, Settings
from app.settings.options import option_names
from app.settings.problems import Location, nearest, not_yet, unknown, written
from app.settings.section import Reading
from providers import Kind

# What the configuration has in a later version, by the key's place, positions left out.
LATER = {
    *("auth", "limits", "ledger", "guardrails", "cache", "chaos", "slo", "recorder"),
    *("telemetry.otlp_endpoint", "telemetry.trace_sample", "telemetry.content"),
}

# What stands in the wrong place, by that place.
_ELSEWHERE = {
    "routes[].targets[].retry": "belongs into the route: its attempts go to all of its targets",
}

_WORDS = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text; a number or a word such as yes becomes text in quotes",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -",
    "list_type": "must be a list",
    "model_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "mapping_type": "must be a mapping of keys to values",
}

_COUNTS = {1: "one", 2: "two"}


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
    location = _as_written(draft, error)
    match error["type"]:
        case "extra_forbidden":
            _report_unknown(draft, location, kinds)
        case "unknown_kind":
            given = str(_at(draft.data, location))
            draft.refuse(location, error["msg"], nearest(given, error["ctx"]["known"]))
        case "too_short":
            draft.refuse(location, f"needs at least {_COUNTS[error['ctx']['min_length']]}")
        case _ if _reaches_too_far(draft, location):
            _report_unknown(draft, location, kinds)
        case kind if not draft.is_unreadable(location):
            message = error["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
            draft.refuse(location, _WORDS.get(kind, message))


def _reaches_too_far(draft: Draft, location: Location) -> bool:
    """A variable for a setting inside a plain value, such as BREAKWATER_SEED__X."""
    variable = variable_of(draft.where(location), location)
    named = all(isinstance(part, str) for part in location)  # what a list's items may hold, their kind decides
    return named and variable is not None and isinstance(_at(draft.data, location), dict)


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


def _as_written(draft: Draft, error: ErrorDetails) -> Location:
    """Where the file has it: without our own ``options`` and without pydantic's names for branches of a union."""
    location: Location = error["loc"]
    if location[:1] == ("providers",) and location[2:3] == ("options",):
        location = (*location[:2], *location[3:])
    for length in range(len(location)):
        if not draft.holds(location[: length + 1]):
            return location[: length + (error["type"] == "missing")]
    return location


def _at(data: Any, location: Location) -> Any:
    for part in location:
        data = data[part]
    return data


def _known_keys(draft: Draft, location: Location, kinds: Mapping[str, Kind]) -> list[str]:
    section: type[BaseModel] = Settings
    for part in location:
        if isinstance(part, str):
            section = _section_of(section.model_fields[part].annotation) or section
    if section is not ProviderSettings:
        return list(section.model_fields)
    kind = kinds.get(str(_at(draft.data, location).get("kind")))
    return ["name", "kind", *(name for one in ([kind] if kind else kinds.values()) for name in option_names(one))]


def _section_of(hint: Any) -> type[BaseModel] | None:
    """The section in ``Section``, ``Section | None`` and ``list[Section]``."""
    sections = (part for part in (hint, *get_args(hint)) if isinstance(part, type) and issubclass(part, BaseModel))
    return next(sections, None)
