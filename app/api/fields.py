"""What the gateway reads of a request body, and what types it must have. All else passes unread.

Types only: which values make sense is the upstream's to say (to llama.cpp, ``max_tokens: -1`` means no limit).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from app.api.errors import ApiError
from providers import Endpoint
from providers.parse_json import parse_json

# A model name comes back in headers and log lines, so it is printable ASCII.
_MODEL = re.compile(r"[\x20-\x7e]{1,256}")


def parse_object(body: bytes) -> dict[str, Any]:
    """Raises ``ApiError`` 400 that says where the JSON is wrong."""
    try:
        fields = parse_json(body)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ApiError(400, f"the request body is not valid JSON: {error.msg} ({where})", code="invalid_json") from None
    except RecursionError:
        raise ApiError(400, "the request body is nested too deeply", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise ApiError(400, "the request body must be a JSON object", code="invalid_json")
    return fields


def check(endpoint: Endpoint, fields: Mapping[str, Any]) -> None:
    """Raises ``ApiError`` 400 whose ``param`` names the first field that is wrong."""
    for name, _, allowed, _ in _REQUIRED[endpoint]:
        if fields.get(name) is None:
            raise _wrong(name, f"{name} is missing; it must be {allowed}", "missing_required_parameter")
    rules = _BY_NAME[endpoint]
    for name, value in fields.items():
        if name in rules and value is not None:
            _, _, allowed, accepts = rules[name]
            if not accepts(value):
                raise _wrong(name, f"{name} must be {allowed}", "invalid_type")


def _wrong(name: str, message: str, code: str) -> ApiError:
    return ApiError(400, message, code=code, param=name)


def _is_model(value: Any) -> bool:
    return isinstance(value, str) and _MODEL.fullmatch(value) is not None


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(message, dict) for message in value)


def _is_text_or_list(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and bool(value))


Rule = tuple[str, bool, str, Callable[[Any], bool]]

_MODEL_RULE: Rule = ("model", True, "a string of 1 to 256 printable ASCII characters", _is_model)
_STREAM: Rule = ("stream", False, "true or false", _is_bool)
_SAMPLING: tuple[Rule, ...] = (
    ("temperature", False, "a number", _is_number),
    ("top_p", False, "a number", _is_number),
)
_CHOICES: tuple[Rule, ...] = (
    _STREAM,
    *_SAMPLING,
    ("max_tokens", False, "a whole number", _is_whole),
    ("n", False, "a whole number", _is_whole),
    ("stream_options", False, "an object", _is_object),
)
_RULES: Mapping[Endpoint, tuple[Rule, ...]] = {
    Endpoint.CHAT: (
        _MODEL_RULE,
        ("messages", True, "an array of at least one message object", _is_messages),
        *_CHOICES,
        ("max_completion_tokens", False, "a whole number", _is_whole),
    ),
    Endpoint.COMPLETIONS: (
        _MODEL_RULE,
        ("prompt", False, "a string or an array", _is_text_or_list),
        *_CHOICES,
    ),
    Endpoint.EMBEDDINGS: (
        _MODEL_RULE,
        ("input", True, "a string or an array", _is_text_or_list),
        ("dimensions", False, "a whole number", _is_whole),
    ),
    Endpoint.RESPONSES: (
        _MODEL_RULE,
        ("input", False, "a string or an array", _is_text_or_list),
        _STREAM,
        *_SAMPLING,
        ("max_output_tokens", False, "a whole number", _is_whole),
    ),
}
_REQUIRED = {endpoint: tuple(rule for rule in rules if rule[1]) for endpoint, rules in _RULES.items()}
_BY_NAME = {endpoint: {rule[0]: rule for rule in rules} for endpoint, rules in _RULES.items()}
