"""Types of single values: numbers that are no truth values, distributions, addresses, secrets.

Text that holds a number is a number, so that ``${PORT}`` can be one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Annotated, Any
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le
from pydantic import (
    AfterValidator,
    AllowInfNan,
    BeforeValidator,
    PlainValidator,
    SecretStr,
    StringConstraints,
    WithJsonSchema,
)

from providers.law import SHAPES, Law

# What no real key is as short as: "none", "EMPTY" and "unused" are what servers without keys are given.
MIN_SECRET = 8
DAY = 86_400
LEAST_SHARE = 0.0001


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false (YAML reads yes, no, on and off as these)")  # noqa: TRY004
    return value


def _no_trifle(value: float) -> float:
    if 0 < value < LEAST_SHARE:
        raise ValueError(f"must be at least {LEAST_SHARE}")
    return value


def _law(value: Any) -> Law:
    try:
        return Law.parse(_numeric(value))
    except OverflowError as error:
        raise ValueError("a number is too large") from error


def _law_schema() -> dict[str, Any]:
    number = {"type": "number", "minimum": 0}
    two = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
    shapes = {
        shape: {"description": parameters, **(two if parameters.startswith("[") else number)}
        for shape, parameters in SHAPES.items()
    }
    one = {
        "type": "object",
        "properties": shapes,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [number, one]}


def _numeric(value: Any) -> Any:
    """The same with numbers where it had text that holds one."""
    if isinstance(value, Mapping):
        return {key: _numeric(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_numeric(inner) for inner in value]
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


# What can be read in one way only, encoded or decoded.
_SEGMENT = r"[A-Za-z0-9._~:-]+"
_PATH = rf"/v1(?:/{_SEGMENT})*(?:/\*|/{_SEGMENT})"


def _path_pattern(value: str) -> str:
    if not re.fullmatch(_PATH, value) or {".", ".."} & set(value.split("/")):
        raise ValueError("must be a path such as /v1/files, or end in /* for everything below it, such as /v1/files/*")
    return value


def _network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError as error:
        hint = "; it has bits set beyond its prefix" if "host bits" in str(error) else ""
        raise ValueError(f"must be an IP address or a network such as 10.0.0.0/8{hint}") from error
    return value


def _web_address(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        sound = False
    if not sound or any(character.isspace() or not character.isprintable() for character in value):
        begin = "" if "://" in value else "begin with http:// or https:// and "
        raise ValueError(f"must {begin}be an address such as https://host/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not carry a user or password; use api_key or headers")
    if parts.query or parts.fragment:
        raise ValueError("must end where the endpoint's path begins, without ? or #")
    return value


def _secret(value: Any) -> Any:
    """Blank is none. Files of secrets end in a line break, which no header may contain."""
    return value.strip() or None if isinstance(value, str) else value


def _one_line(value: Any) -> Any:
    if isinstance(value, str) and not value.isprintable():
        raise ValueError("contains a line break or a control character")
    return value


def plain(value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise ValueError("must consist of plain characters: printable ASCII")
    return value


def _token(value: SecretStr | None) -> SecretStr | None:
    text = value.get_secret_value() if value is not None else None
    if text is not None and (len(text) < MIN_SECRET or not (text.isascii() and text.isprintable()) or " " in text):
        need = f"must be at least {MIN_SECRET} characters, printable ASCII without spaces"
        raise ValueError(f"{need}; left out, one is made at each start")
    return value


_QUANTILE = r"p[5-9][0-9](\.[0-9])?"


def _hedge_delay(value: Any) -> float | str:
    number = _numeric(_no_truth_value(value))
    if isinstance(number, int | float) and 0 < number <= DAY:
        return float(number)
    if not (isinstance(value, str) and re.fullmatch(_QUANTILE, value)):
        raise ValueError("must be seconds, above 0, or a quantile from p50 to p99.9, such as p95")
    return value


_HEDGE_DELAY = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": DAY},
        {"type": "string", "pattern": f"^{_QUANTILE}$"},
    ]
}


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


Whole = Annotated[int, BeforeValidator(_no_truth_value)]
Number = Annotated[float, AllowInfNan(False), BeforeValidator(_no_truth_value)]
Natural = Annotated[Whole, Ge(0)]
NotNegative = Annotated[Number, Ge(0)]
Positive = Annotated[Number, Gt(0)]
Seconds = Annotated[Positive, Le(DAY)]
Count = Annotated[Whole, Ge(1), Le(1_000_000)]
Ratio = Annotated[Number, Ge(0), Le(1), AfterValidator(_no_trifle)]
Share = Annotated[Number, Gt(0), Le(1), AfterValidator(_no_trifle)]
PerSecond = Annotated[Number, Ge(0), Le(10_000)]
Text = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9._-]{1,64}\z")]
# Ends up in response headers.
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(plain)]
HedgeDelay = Annotated[float | str, PlainValidator(_hedge_delay), WithJsonSchema(_HEDGE_DELAY)]
ParsedLaw = Annotated[Law, PlainValidator(_law), WithJsonSchema(_law_schema())]
PathPattern = Annotated[str, AfterValidator(_path_pattern), WithJsonSchema({"type": "string", "pattern": f"^{_PATH}$"})]
Network = Annotated[str, AfterValidator(_network)]
UPPER = BeforeValidator(_upper)
WEB_ADDRESS = (AfterValidator(_web_address), WithJsonSchema({"type": "string", "pattern": r"^https?://[^\s?#]+$"}))
SECRET = (BeforeValidator(_secret), AfterValidator(_one_line))
Token = Annotated[
    SecretStr | None,
    BeforeValidator(_secret),
    AfterValidator(_token),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]}),
]
