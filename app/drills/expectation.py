"""One expectation of a scenario: a measure by name, and what it is held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.drills.measures import MEASURES, InSpan, Measure, Recovers
from app.settings.section import Reading, keys_of


@dataclass(frozen=True, slots=True)
class Expectation:
    measure: Measure
    wanted: InSpan | Recovers


def expectation(given: Any, info: ValidationInfo) -> Expectation | None:
    """Of a mapping with one key, a measure's. Raises ``ValueError``, or ``ValidationError`` placed below that key; None
    instead in a lenient reading.
    """
    try:
        return _expectation(given)
    except ValueError:
        if isinstance(info.context, Reading) and info.context.lenient:
            return None
        raise


def _expectation(given: Any) -> Expectation:
    if not isinstance(given, Mapping) or len(given) != 1:
        raise ValueError("must be one measure and what it is held to, such as {goodput: {at_least: 0.95}}")
    ((name, wanted),) = given.items()
    if name not in MEASURES:
        unknown = PydanticCustomError("unknown_key", "unknown", {"what": "measure", "known": sorted(MEASURES)})
        raise _placed([InitErrorDetails(type=unknown, loc=(name,), input=None)])
    measure = MEASURES[name]
    try:
        return Expectation(measure, measure.options.model_validate(wanted))
    except ValidationError as error:
        raise _placed([_below(name, measure, line) for line in error.errors(include_url=False)]) from None


def _below(name: str, measure: Measure, line: Any) -> InitErrorDetails:
    kind, words = line["type"], line["msg"]
    context = {key: value for key, value in line.get("ctx", {}).items() if key != "error"}
    if kind == "extra_forbidden":
        kind, context = "unknown_key", {"what": "key", "known": sorted(keys_of(measure.options))}
    described = PydanticCustomError(kind, "{words}", {**context, "words": words})  # noqa: RUF027 - pydantic fills it in
    return InitErrorDetails(type=described, loc=(name, *line["loc"]), input=None)


def _placed(lines: list[InitErrorDetails]) -> ValidationError:
    return ValidationError.from_exception_data("expect", lines, hide_input=True)
