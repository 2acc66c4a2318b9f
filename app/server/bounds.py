"""What a request may cost before it is one, and what is said to those that cost more."""

from __future__ import annotations

from app.api.errors import ApiError

MAX_HEAD_BYTES = 64 * 1024  # names and values; OpenAI asks clients to stay below it
MAX_HEADERS = 128
MAX_URL_BYTES = 8 * 1024
# What may come before a head is known to be whole: the above and its separators.
MAX_UNREAD_BYTES = MAX_HEAD_BYTES + MAX_URL_BYTES + 4 * MAX_HEADERS + 256
# A chunk of one byte takes six on the wire; more than this many bytes around each one are no body any more.
MAX_WRAPPING = 16
MAX_PIPELINED = 64
# Of what comes after a refusal. Less than a large body, and its client would meet a reset in the place of our answer.
MAX_DISCARDED = 32 * 1024 * 1024

_NOT_AGAIN = {"connection": "close", "x-should-retry": "false"}


def too_large() -> ApiError:
    message = f"the request's headers are larger than {MAX_HEAD_BYTES // 1024} KiB or more than {MAX_HEADERS}"
    return ApiError(431, message, code="headers_too_large", headers=_NOT_AGAIN)


def too_long() -> ApiError:
    return ApiError(414, f"the URL is longer than {MAX_URL_BYTES // 1024} KiB", code="url_too_long", headers=_NOT_AGAIN)


def too_slow(seconds: float) -> ApiError:
    message = f"the request's headers did not arrive within {seconds:g} s"
    return ApiError(408, message, code="request_timeout", headers=_NOT_AGAIN)


def malformed(why: str) -> ApiError:
    return ApiError(400, f"this is not valid HTTP/1.1: {why}", code="malformed_request", headers=_NOT_AGAIN)
