"""The options of a provider: a kind's own dataclass, filled from what was written, every fault at once.

Pydantic would take the dataclass whole, but lets unknown keys pass, reads ``yes`` as 1 and knows no ``Law``; so it
is asked field by field.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, fields
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.settings.scalars import SECRET, WEB_ADDRESS, Number, ParsedLaw, Whole
from providers import Kind
from providers.law import Law

_MEANT: dict[Any, Any] = {int: Whole, float: Number, Law: ParsedLaw}
_BY_NAME: dict[str, tuple[Any, ...]] = {"base_url": WEB_ADDRESS, "api_key": SECRET}
_SECRETS = {"api_key", "headers"}


def option_names(kind: Kind) -> list[str]:
    return dataclass_names(kind.options)


def dataclass_names(options: type[Any]) -> list[str]:
    """What can be given to make one."""
    return [field.name for field in fields(options) if field.init]


def secret_names(options: Any) -> list[str]:
    """The options that hold secrets, of a kind's options or its dataclass."""
    return [field.name for field in fields(options) if field.name in _SECRETS or not field.repr]


def refuse_unknown(given: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises ``ValidationError`` if a key is not among the known."""
    if faults := _unknown(given, known):
        raise ValidationError.from_exception_data("options", faults, hide_input=True)


def build_options(made: type[Any], given: Mapping[str, Any]) -> Any:
    """An instance of ``made``, a dataclass. Raises ``ValidationError`` whose locations begin with an option's name."""
    wanted = {field.name: field for field in fields(made) if field.init}
    hints = get_type_hints(made, include_extras=True)
    hidden = _secret_texts(given, secret_names(made))
    faults = _unknown(given, wanted)
    values: dict[str, Any] = {}
    for name, field in wanted.items():
        if name in given:
            try:
                values[name] = adapter(hints[name], name).validate_python(given[name])
            except ValidationError as error:
                lines = error.errors(include_url=False, include_input=False)
                faults += [_fault(line["type"], _masked(line["msg"], hidden), (name, *line["loc"])) for line in lines]
        elif is_required(field):
            faults.append(_fault("missing", "is missing", (name,)))
    options = None
    if all(name in values for name, field in wanted.items() if is_required(field)):
        try:
            options = made(**values)
        except ValueError as error:
            name, colon, message = str(error).partition(": ")
            names_field = bool(colon) and name in wanted
            text = _masked(message if names_field else str(error), hidden)
            faults.append(_fault("value_error", text, (name,) if names_field else ()))
    if faults:
        raise ValidationError.from_exception_data("options", faults, hide_input=True)
    return options


def _unknown(given: Mapping[str, Any], known: Collection[str]) -> list[InitErrorDetails]:
    return [_fault("extra_forbidden", "unknown key", (name,)) for name in given if name not in known]


def is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def adapter(hint: Any, name: str) -> TypeAdapter[Any]:
    """What reads the option ``name`` of this type."""
    return TypeAdapter(_meant(hint, name))


def _meant(hint: Any, name: str = "") -> Any:
    """The hint with our own types for numbers and laws, also inside ``| None`` and ``Annotated``."""
    arguments = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        meant: Any = Union[tuple(_meant(argument) for argument in arguments)]  # noqa: UP007 - made of a tuple
    elif get_origin(hint) is Annotated:
        meant = Annotated[_meant(arguments[0]), *arguments[1:]]
    else:
        meant = _MEANT.get(hint, hint) if isinstance(hint, type) else hint
    more = _BY_NAME.get(name, ())
    return Annotated[meant, *more] if more else meant


def _fault(kind: str, message: str, location: tuple[int | str, ...]) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError(kind, "{words}", {"words": message}), loc=location, input=None)


def _secret_texts(given: Mapping[str, Any], secret: Collection[str]) -> list[str]:
    """Every text under a secret option: those of HTTP kinds, and what the dataclass itself leaves out of its repr."""
    secret = _SECRETS.union(secret)  # also where this kind has no such option
    return sorted({text for name in given if name in secret for text in _texts(given[name])}, key=len, reverse=True)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value, value.strip()]
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [text for part in inner for text in _texts(part)]


def _masked(message: str, hidden: list[str]) -> str:
    """A kind's own words, without the secrets that it may quote."""
    for text in hidden:
        if len(text) > 3:  # a shorter one would tear the words apart, and is no secret
            message = message.replace(text, "***")
    return message
