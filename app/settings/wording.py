"""A draft against any model of sections: pydantic's errors in our words, with the line and the nearest right name."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from app.settings.draft import Draft
from app.settings.problems import Location, nearest, unknown
from app.settings.section import keys_of

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


def refuse(draft: Draft, error: ErrorDetails, location: Location) -> None:
    """``location`` is where ``error`` is, as written. A key that nobody knows is another matter."""
    match error["type"]:
        case "unknown_kind":
            given = str(value_at(draft.data, location))
            draft.refuse(location, error["msg"], nearest(given, error["ctx"]["known"]))
        case "unknown_key":
            draft.refuse(location, *unknown(error["ctx"]["what"], str(location[-1]), error["ctx"]["known"]))
        case "too_short":
            draft.refuse(location, f"needs at least {_COUNTS[error['ctx']['min_length']]}")
        case _ if not draft.is_unreadable(location):
            draft.refuse(location, in_words(error))


def in_words(error: ErrorDetails) -> str:
    message = error["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
    return _WORDS.get(error["type"], message)


def as_written(draft: Draft, error: ErrorDetails, location: Location) -> Location:
    """Where the file has it: without pydantic's names for branches of a union."""
    for length in range(len(location)):
        if not draft.holds(location[: length + 1]):
            return location[: length + (error["type"] == "missing")]
    return location


def value_at(data: Any, location: Location) -> Any:
    for part in location:
        data = data[part]
    return data


def section_at(model: type[BaseModel], location: Location) -> type[BaseModel]:
    """The section that has the keys of ``location``."""
    section = model
    for part in location:
        if isinstance(part, str):
            section = _section_of(keys_of(section)[part].annotation) or section
    return section


def _section_of(hint: Any) -> type[BaseModel] | None:
    """The section in ``Section``, ``Section | None`` and ``list[Section]``."""
    sections = (part for part in (hint, *get_args(hint)) if isinstance(part, type) and issubclass(part, BaseModel))
    return next(sections, None)
