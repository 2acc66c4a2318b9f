"""ONE table: what went wrong, to the status and the error object that the client sees.

    {"error": {"message", "type", "param", "code"}}    all four, always; code a string or null

An upstream's own words reach the client only where the request itself was wrong (400, 413, 422).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import orjson

from providers import ProviderError
from providers.errors import RateLimited, TimedOut
from router import RouterError
from router.errors import (
    AllRateLimited,
    DeadlineExceeded,
    Exhausted,
    ModelNotFound,
    NoTarget,
    RequestRejected,
    Shed,
    UnknownPin,
)

INVALID, SERVER, UNAVAILABLE = "invalid_request_error", "server_error", "service_unavailable_error"
MAX_RETRY_AFTER_SECONDS = 60  # beyond it one official SDK gives up and the other ignores it
NO_RETRY = {"x-should-retry": "false"}


class ApiError(Exception):
    """A failure that the edge itself found. ``param`` names the field of the request that is wrong."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.answer = ErrorAnswer(status, message, kind, code, param, dict(headers or {}))


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What the client gets, as JSON. ``body`` is set only for an upstream's own words."""

    status: int
    message: str
    kind: str
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def encoded(self) -> bytes:
        return self.body if self.body is not None else self.as_object()

    def as_object(self) -> bytes:
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})


DRAINING = ErrorAnswer(
    503,
    "this gateway is shutting down; try again",
    UNAVAILABLE,
    "draining",
    headers={"retry-after": "1", "connection": "close"},
)


def answer_for(error: BaseException) -> ErrorAnswer:
    """Total: what is not in the table is a bug of ours, and says so without details."""
    answer = _answer_for(error)
    if isinstance(error, RouterError) and error.storm:
        return replace(answer, headers={**answer.headers, **NO_RETRY})
    return answer


def _answer_for(error: BaseException) -> ErrorAnswer:
    match error:
        case ApiError():
            return error.answer
        case ModelNotFound():
            return ErrorAnswer(404, error.message, INVALID, "model_not_found", "model")
        case UnknownPin():
            return ErrorAnswer(400, error.message, INVALID, "unknown_provider")
        case RequestRejected():
            return _in_upstream_words(error)
        case DeadlineExceeded():
            return ErrorAnswer(504, error.message, SERVER, "deadline_exceeded", headers=NO_RETRY)
        case Exhausted():
            return _exhausted(error)
        case NoTarget() | Shed():
            return _unavailable(error)
        case ProviderError():  # a stream that broke after its commit point
            return _failed(error)
        case RouterError():
            return ErrorAnswer(503, error.message, UNAVAILABLE, error.reason, headers={"retry-after": "1"})
        case _:
            return ErrorAnswer(500, "internal error; the log has it under this request id", SERVER, "internal_error")


def _unavailable(error: NoTarget | Shed) -> ErrorAnswer:
    """Nobody was asked. ``retry-after`` is when somebody may be able again, as far as that is known."""
    headers = _retry_after(error.retry_after)
    if isinstance(error, AllRateLimited):
        return ErrorAnswer(429, error.message, "rate_limit_error", "rate_limit_exceeded", headers=headers)
    code = "overloaded" if isinstance(error, Shed) else "no_healthy_target"
    return ErrorAnswer(503, error.message, UNAVAILABLE, code, headers=headers)


def _in_upstream_words(error: RequestRejected) -> ErrorAnswer:
    cause = error.cause
    status = cause.status or 400
    return ErrorAnswer(status, error.message, INVALID, "upstream_rejected", headers=cause.headers, body=cause.body)


def _exhausted(error: Exhausted) -> ErrorAnswer:
    """A 429 if every attempt met a rate limit; else the last failure decides: a timeout is a 504, all else a 502."""
    if error.throttled:
        limits = error.cause.headers if isinstance(error.cause, RateLimited) else {}
        headers = {**limits, **_retry_after(error.retry_after)}
        return ErrorAnswer(429, error.message, "rate_limit_error", "rate_limit_exceeded", headers=headers)
    return _failed(error.cause, NO_RETRY)


def _retry_after(seconds: float | None) -> dict[str, str]:
    return {"retry-after": str(min(MAX_RETRY_AFTER_SECONDS, max(1, math.ceil(seconds or 1))))}


def _failed(cause: ProviderError, headers: Mapping[str, str] | None = None) -> ErrorAnswer:
    if isinstance(cause, TimedOut):
        return ErrorAnswer(504, cause.message, SERVER, "deadline_exceeded", headers=headers or {})
    return ErrorAnswer(502, cause.message, SERVER, "upstream_error", headers=headers or {})
