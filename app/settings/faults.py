"""A fault as it is asked for, by the admin API, in a scenario or in a signed header: the same keys everywhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import AfterValidator, Field, PlainValidator, ValidationError, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from app.settings.options import build_options, dataclass_names, refuse_unknown
from app.settings.problems import nearest, unknown, written
from app.settings.scalars import Count, ModelName, Name, Seconds, Share, Text, Whole
from app.settings.section import Section, keys_of
from app.settings.wording import in_words, section_at
from providers.faults import FAULTS
from router.chaos import FaultRefused, Guard, Rule

NUMBERS: Mapping[str, str] = {row.number: kind for kind, row in FAULTS.items()}


def _kind(given: str) -> str:
    """By name or by its number in the catalogue."""
    kind = NUMBERS.get(given.upper(), given)
    if kind not in FAULTS:
        known = sorted(FAULTS)
        raise PydanticCustomError(
            "unknown_kind",
            "unknown kind of fault; the kinds are: {allowed}",
            {"allowed": ", ".join(known), "known": known},
        )
    return kind


def _knobs(given: Any, info: ValidationInfo) -> Any:
    if given is None:
        return None
    row = FAULTS.get(info.data.get("kind", ""))
    if row is None:  # the kind's own error is told already
        refuse_unknown(given, {name for row in FAULTS.values() for name in dataclass_names(row.fault)})
        return None
    return given if isinstance(given, row.fault) else build_options(row.fault, given)


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be printable")
    return value


class GuardSettings(Section):
    """``availability`` of all calls in the last ``window`` seconds, and of those that the fault did not hit: below it, the fault
    ends. From ``min_calls`` on.
    """

    availability: Share | None = None
    control: Share | None = None
    window: Annotated[Seconds, Ge(1), Le(3600)] = 30.0
    min_calls: Count = 20

    @model_validator(mode="after")
    def _asks_something(self) -> GuardSettings:
        if self.availability is None and self.control is None:
            raise ValueError("needs availability or control")
        return self


class FaultSettings(Section):
    """``target``: one or several of provider or provider/model; ``ttl`` in seconds. ``knobs`` are the kind's own dataclass, made of
    every key that is none of these.
    """

    kind: Annotated[Text, AfterValidator(_kind)]
    target: Annotated[list[Text], Field(min_length=1)]
    ttl: Seconds
    id: Name | None = None
    share: Share | None = None
    seed: Whole = 0
    per: Literal["attempt", "request", "session"] | None = None
    route: ModelName | None = None
    max_active: Count | None = None
    dead_man: Annotated[Seconds, Ge(1)] | None = None
    guard: GuardSettings | None = None
    reason: Annotated[str, Field(max_length=200), AfterValidator(_printable)] = ""
    knobs: Annotated[Any, PlainValidator(_knobs)] = Field(default=None, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _apart(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or is_dataclass(given.get("knobs")):
            return given
        own = {key: given[key] for key in keys_of(cls) if key in given and key != "knobs"}
        if isinstance(own.get("target"), str):
            own["target"] = [own["target"]]
        return own | {"knobs": {key: value for key, value in given.items() if key not in own}}


def rule_of(asked: FaultSettings, fault_id: str, known: Collection[str], models: Collection[str]) -> Rule:
    """``known`` are all targets, provider/model, ``models`` those of the routes. Raises ``FaultRefused``."""
    row = FAULTS[asked.kind]
    if asked.route is not None and asked.route not in models:
        raise FaultRefused(_unknown("route", asked.route, models), "route")
    guard = None if asked.guard is None else Guard(**asked.guard.model_dump())
    return Rule(
        fault_id,
        asked.kind,
        asked.knobs,
        targets_of(asked.target, known),
        asked.ttl,
        share=row.share if asked.share is None else asked.share,
        seed=asked.seed,
        per=asked.per or row.per,
        route=asked.route,
        max_active=asked.max_active,
        dead_man=asked.dead_man,
        guard=guard,
        streams=row.streams,
        reason=asked.reason,
    )


def targets_of(named: Collection[str], known: Collection[str]) -> tuple[str, ...]:
    """A provider's name stands for all its targets. Raises ``FaultRefused``."""
    found: dict[str, None] = {}
    for name in named:
        meant = [target for target in known if name in (target, target.partition("/")[0])]
        if not meant:
            providers = {target.partition("/")[0] for target in known}
            raise FaultRefused(_unknown("target", name, [*providers, *known]), "target")
        found.update(dict.fromkeys(meant))
    return tuple(found)


def _unknown(what: str, name: str, known: Collection[str]) -> str:
    near = nearest(name, known)
    hint = f'did you mean "{near}"?' if near else f"known here: {', '.join(sorted(known))}"
    return f"there is no {what} {name[:256]!r}; {hint}"


def asked_of(given: Any) -> FaultSettings:
    """Raises ``FaultRefused`` for the first thing that is wrong, with what is allowed."""
    try:
        return FaultSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    location = first["loc"][1:] if first["loc"][:1] == ("knobs",) else first["loc"]  # ``knobs`` are our own
    param = written(location)
    kind = str(given.get("kind"))
    row = FAULTS.get(NUMBERS.get(kind.upper(), kind))
    match first["type"]:
        case "extra_forbidden":
            section = section_at(FaultSettings, location[:-1])
            known = [name for name in section.model_fields if name != "knobs"]
            if row is not None and section is FaultSettings:
                known += dataclass_names(row.fault)
            text, near = unknown("key", str(location[-1]), known)
            message = text if near is None else f'{text}; did you mean "{near}"?'
        case _:
            message = in_words(first)
    raise FaultRefused(message, param)
