"""What a client asks for in its headers: a provider, a deadline, a priority, a session, an experiment's arm."""

from __future__ import annotations

import re
from typing import Any

from app.api.errors import ApiError
from router import Pin, Priority

Headers = dict[bytes, bytes]

_PRIORITIES = {priority.name.lower().encode(): priority for priority in Priority}
_SESSION = re.compile(rb"[\x21-\x7e]{1,256}")
MAX_CLIENT_RETRIES = 100


def wished_pin(headers: Headers) -> Pin | None:
    """Raises ``ApiError`` 400, as all of them do."""
    value = headers.get(b"x-provider-priority")
    if value is None:
        return None
    try:
        return Pin.parse(value.decode("latin-1"))
    except ValueError as error:
        raise _invalid(f"X-Provider-Priority: {error}") from None


def wished_timeout(headers: Headers) -> float | None:
    """In seconds."""
    value: Any = headers.get(b"x-deadline-ms")
    if value is None:
        return None
    if not value.isdigit() or len(value) > 12 or int(value) == 0:
        raise _invalid("X-Deadline-Ms must be a whole number of milliseconds above 0")
    return int(value) / 1000


def wished_priority(headers: Headers) -> Priority:
    value = headers.get(b"x-priority")
    if value is None:
        return Priority.DEFAULT
    priority = _PRIORITIES.get(value.strip().lower())
    if priority is None:
        known = ", ".join(name.decode() for name in reversed(_PRIORITIES))
        raise _invalid(f"X-Priority must be one of {known}")
    return priority


def session_of(headers: Headers) -> str | None:
    value = headers.get(b"x-session-id")
    if value is None:
        return None
    if not _SESSION.fullmatch(value):
        raise _invalid("X-Session-ID must be 1 to 256 printable ASCII characters without spaces")
    return value.decode()


def wished_arm(headers: Headers) -> str | None:
    """``experiment=arm``, as it came."""
    value = headers.get(b"x-experiment")
    return None if value is None else value.decode("latin-1")


def retries_of(headers: Headers) -> int:
    """How often the client's SDK says that it has sent this before; what is no number is none."""
    value = headers.get(b"x-stainless-retry-count")
    if value is None or not value.isdigit() or len(value) > 3:
        return 0
    return min(int(value), MAX_CLIENT_RETRIES)


def _invalid(message: str) -> ApiError:
    return ApiError(400, message, code="invalid_header")
