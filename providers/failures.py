"""Two tables: HTTP status to ProviderError, and what an upstream's error body says.

The upstream's own words stay here unless the request was at fault: they may hold a key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from providers.errors import (
    Misconfigured,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Rejected,
    ServerFault,
    UnknownModel,
)
from providers.parse_json import parse_json

QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "billing_hard_limit_reached",
        "enforced_spend_limit_reached",
    }
)
_UNKNOWN_MODEL = re.compile(r"\bmodel\b.*\b(does not exist|not found)\b", re.IGNORECASE | re.DOTALL)
_ERROR_STATUS = re.compile(r"[45][0-9]{2}")
_REJECTED = frozenset({400, 413, 422})
_TRAVELLING = frozenset(
    {
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
        "openai-processing-ms",
        "openai-version",
        "endpoint-load-metrics",
    }
)
_SHOULD_RETRY = {"true": True, "false": False}
_MISCONFIGURED = {
    401: "refused the gateway's credentials",
    402: "wants to be paid",
    403: "does not allow the gateway to do this",
    404: "does not know this model or path",
}


def from_status(status: int, headers: Mapping[str, str], body: bytes, name: str) -> ProviderError:
    """The error for an answer with ``status``, which is not 2xx. ``name`` is the provider's."""
    said = f"{name} answered {status}"
    retry_after = retry_after_seconds(headers)
    should_retry = _SHOULD_RETRY.get(headers.get("x-should-retry", ""))
    if status in _REJECTED:
        return _rejected(status, headers, body, said)
    if status in _MISCONFIGURED:
        said = f"{name} {_MISCONFIGURED[status]} ({status})"
        kind = UnknownModel if status == 404 and _is_unknown_model(body) else Misconfigured
        return kind(said, status=status, should_retry=should_retry)
    if 300 <= status < 400:
        return Misconfigured(f"{said}: redirects are not followed", status=status, should_retry=should_retry)
    if status == 429:
        if _is_quota(_error_in(body)):
            said = f"{name} has no quota left (429)"
            return QuotaExhausted(said, status=status, retry_after=retry_after, should_retry=should_retry)
        limits = {name: value for name, value in travelling(headers).items() if name.startswith("x-ratelimit-")}
        return RateLimited(said, status=status, retry_after=retry_after, should_retry=should_retry, headers=limits)
    overloaded = status in (503, 529)
    return (Overloaded if overloaded else ServerFault)(
        said, status=status, retry_after=retry_after, should_retry=should_retry
    )


def _rejected(status: int, headers: Mapping[str, str], body: bytes, said: str) -> Rejected:
    """JSON is the upstream's word on the request and passes as it came; anything else is put into our own words."""
    if _json(body) is None or headers.get("content-encoding", "identity") != "identity":
        message = f"{said} without saying why"
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        body = orjson.dumps({"error": error})
    return Rejected(said, status=status, body=body, headers=travelling(headers))


def travelling(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of an upstream's response headers that a client can use: rate limits, retry advice, its request id.

    Names are lower case.
    """
    kept = {name: value for name, value in headers.items() if name in _TRAVELLING or name.startswith("x-ratelimit-")}
    if "x-request-id" in headers:
        kept["x-upstream-request-id"] = headers["x-request-id"]
    if "connection" in headers and kept:  # what is named there is for one hop
        for name in headers["connection"].split(","):
            kept.pop(name.strip().lower(), None)
    return kept


def from_event(error: Any, name: str) -> ProviderError:
    """The error for an ``error`` member in a stream or in a body with status 200: an object or a string."""
    code = _member(error, "code")
    kind = _member(error, "type")
    status = int(code) if _ERROR_STATUS.fullmatch(str(code)) and code else None
    said = f"{name} sent an error inside its answer"
    if _is_quota(error):
        return QuotaExhausted(f"{said}: no quota left", status=status)
    if status == 429 or code == "rate_limit_exceeded" or kind == "rate_limit_error":
        return RateLimited(said, status=status)
    if status in _REJECTED:
        return Rejected(said, status=status, body=json.dumps({"error": error}).encode())
    if status in _MISCONFIGURED:
        return Misconfigured(f"{name} {_MISCONFIGURED[status]} ({status})", status=status)
    if status in (503, 529) or kind in ("overloaded_error", "service_unavailable_error"):
        return Overloaded(said, status=status)
    return ServerFault(said, status=status)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """``retry-after-ms``, else ``retry-after`` in seconds or as a date (measured against the answer's own Date)."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(headers["date"])).total_seconds())
    except (KeyError, ValueError, TypeError, OverflowError):  # no Date, no date, or one without a time zone
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None


def _error_in(body: bytes) -> Any:
    payload = _json(body)
    return payload.get("error") if isinstance(payload, dict) else None


def _json(body: bytes) -> Any:
    try:
        return parse_json(body)
    except ValueError:
        return None


def _member(error: Any, name: str) -> int | str | None:
    value = error.get(name) if isinstance(error, dict) else None
    return value if isinstance(value, int | str) else None


def _is_unknown_model(body: bytes) -> bool:
    """A 404 may as well mean the path, or an id in the request; vLLM has no code for it, and older ones no ``error``."""
    error = _error_in(body) or _json(body)
    return _member(error, "code") == "model_not_found" or bool(_UNKNOWN_MODEL.search(str(_member(error, "message"))))


def _is_quota(error: Any) -> bool:
    return _member(error, "code") in QUOTA_CODES or _member(error, "type") in QUOTA_CODES
