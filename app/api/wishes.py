"""What a client asks for in its headers: a provider, a deadline, a priority, a session, an experiment's arm."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from app.api.errors import ApiError
from router import Pin, Priority

Headers = dict[bytes, bytes]

_PRIORITIES = {priority.name.lower().encode(): priority for priority in Priority}
_SESSION = re.compile(rb"[\x21-\x7e]{1,256}")
MAX_CLIENT_RETRIES = 100
WISHES = frozenset(
    {
        b"x-provider-priority",
        b"x-deadline-ms",
        b"x-priority",
        b"x-session-id",
        b"x-experiment",
        b"x-stainless-retry-count",
    }
)


class Wishes(NamedTuple):
    """``timeout`` in seconds; ``arm`` is experiment=arm, as it came; ``retries``: how often the client's SDK says that it has
    sent this before.
    """

    pin: Pin | None = None
    timeout: float | None = None
    priority: Priority = Priority.DEFAULT
    session: str | None = None
    arm: str | None = None
    retries: int = 0


NONE = Wishes()


def wishes_of(headers: Headers) -> Wishes:
    """Raises ``ApiError`` 400."""
    if WISHES.isdisjoint(headers):  # as with most requests
        return NONE
    pin, arm = _pin(headers), _arm(headers)
    if pin is not None and arm is not None:
        raise _invalid("X-Provider-Priority and X-Experiment exclude each other")
    return Wishes(pin, _timeout(headers), _priority(headers), _session(headers), arm, _retries(headers))


def _pin(headers: Headers) -> Pin | None:
    value = headers.get(b"x-provider-priority")
    if value is None:
        return None
    try:
        return Pin.parse(value.decode("latin-1"))
    except ValueError as error:
        raise _invalid(f"X-Provider-Priority: {error}") from None


def _timeout(headers: Headers) -> float | None:
    value: Any = headers.get(b"x-deadline-ms")
    if value is None:
        return None
    if not value.isdigit() or len(value) > 12 or int(value) == 0:
        raise _invalid("X-Deadline-Ms must be a whole number of milliseconds above 0")
    return int(value) / 1000


def _priority(headers: Headers) -> Priority:
    value = headers.get(b"x-priority")
    if value is None:
        return Priority.DEFAULT
    priority = _PRIORITIES.get(value.strip().lower())
    if priority is None:
        known = ", ".join(name.decode() for name in reversed(_PRIORITIES))
        raise _invalid(f"X-Priority must be one of {known}")
    return priority


def _session(headers: Headers) -> str | None:
    value = headers.get(b"x-session-id")
    if value is None:
        return None
    if not _SESSION.fullmatch(value):
        raise _invalid("X-Session-ID must be 1 to 256 printable ASCII characters without spaces")
    return value.decode()


def _arm(headers: Headers) -> str | None:
    value = headers.get(b"x-experiment")
    return None if value is None else value.decode("latin-1")


def _retries(headers: Headers) -> int:
    value = headers.get(b"x-stainless-retry-count")
    if value is None or not value.isdigit() or len(value) > 3:
        return 0
    return min(int(value), MAX_CLIENT_RETRIES)


def _invalid(message: str) -> ApiError:
    return ApiError(400, message, code="invalid_header")
