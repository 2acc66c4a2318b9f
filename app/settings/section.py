"""What every section of the settings is: a frozen mapping of known keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from providers import Kind


@dataclass(frozen=True, slots=True)
class Reading:
    """The context of a validation. ``lenient`` leaves out what is wrong instead of raising, for the cross checks."""

    kinds: Mapping[str, Kind]
    lenient: bool = False


# What a lenient reading has for a value that must be given and is wrong: it decides nothing.
_UNKNOWN: Mapping[Any, Any] = {list: [], float: math.nan}


class Section(BaseModel):
    """A mapping in the file. Empty means all defaults. Values never appear in errors: one of them may be a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, given: Any, info: ValidationInfo) -> Any:
        if given is None or (_lenient(info) and not isinstance(given, Mapping)):
            given = {}
        if _lenient(info):
            keys = keys_of(cls)
            required = [key for key, field in keys.items() if field.is_required()]
            return dict.fromkeys(required) | {key: given[key] for key in keys if key in given}
        return given

    @field_validator("*", mode="wrap")
    @classmethod
    def _sound(cls, value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        try:
            return validate(value)
        except ValidationError:
            if not _lenient(info) or info.field_name is None:
                raise
            field = cls.model_fields[info.field_name]
            if not field.is_required():
                return field.get_default(call_default_factory=True)
            return _UNKNOWN.get(get_origin(field.annotation) or field.annotation, "")


def keys_of(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys as they are written in a file: some are words of Python's own."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def _lenient(info: ValidationInfo) -> bool:
    return isinstance(info.context, Reading) and info.context.lenient
