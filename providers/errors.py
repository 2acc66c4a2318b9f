"""Every way in which an upstream can fail, as one tree. Foreign exceptions never pass this line.

    ProviderError
    ├── Unreachable      no connection: refused, DNS, TLS; Untrusted: it cannot prove who it is
    ├── Disconnected     the connection broke: closed before headers, reset, cut, a length that lies
    ├── TimedOut         a phase took too long: connect, first_token, idle, attempt
    ├── ServerFault      the upstream answered 5xx, or any status that makes no sense here
    ├── Overloaded       503 or 529: alive, but full
    ├── RateLimited      429
    ├── QuotaExhausted   429 that no waiting will cure
    ├── Misconfigured    our side is wrong: 401, 402, 403, 404, a redirect
    ├── Rejected         the client's request is wrong: 400, 413, 422; the body travels on to the client
    ├── Malformed        not the protocol: HTML, bad JSON, an oversized event, a compressed body
    ├── Truncated        the answer ended before it was complete
    └── Empty            a complete answer that says nothing

All but ``Rejected`` may be retried on another target; each class says whether another attempt at the same
target may help (``same_target``) and what it means for the target's health (``outcome``; what counts is in docs/RESILIENCE.md).
``reason`` is a bounded label, fit for a metric or a header; ``message`` is for people and carries no secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Outcome(StrEnum):
    """What the end of an attempt says about its target."""

    OK = "ok"
    FAULT = "fault"
    OVERLOAD = "overload"
    IGNORED = "ignored"


class ProviderError(Exception):
    """An attempt failed at the upstream. ``retry_after`` is in seconds; ``status`` is the upstream's; ``should_retry`` its
    word on another attempt at itself, which goes before ``same_target``: None if it said nothing.
    """

    reason = "upstream"
    outcome = Outcome.FAULT
    same_target = True

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.should_retry = should_retry

    @property
    def label(self) -> str:
        """What ``x-attempts`` shows: the upstream's status, or the reason where there was none."""
        return str(self.status) if self.status is not None else self.reason


class Unreachable(ProviderError):
    reason = "unreachable"


class Untrusted(Unreachable):
    """Its certificate is not accepted, which no second attempt will change."""

    same_target = False


class Disconnected(ProviderError):
    reason = "disconnected"


class TimedOut(ProviderError):
    """``phase`` is one of connect, first_token, idle, attempt."""

    reason = "timeout"

    def __init__(self, phase: str, seconds: float) -> None:
        super().__init__(f"no answer in time: {phase} took longer than {seconds:g} s")
        self.phase = phase

    @property
    def label(self) -> str:
        return f"{self.phase}_timeout"


class ServerFault(ProviderError):
    reason = "server_error"


class Overloaded(ProviderError):
    reason = "overloaded"
    outcome = Outcome.OVERLOAD


class RateLimited(ProviderError):
    """``headers``: the upstream's rate limits, as they may go to the client."""

    reason = "rate_limited"
    outcome = Outcome.OVERLOAD

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, status=status, retry_after=retry_after, should_retry=should_retry)
        self.headers = dict(headers or {})


class QuotaExhausted(ProviderError):
    reason = "quota_exhausted"
    outcome = Outcome.IGNORED
    same_target = False


class Misconfigured(ProviderError):
    reason = "misconfigured"
    outcome = Outcome.IGNORED
    same_target = False


class UnknownModel(Misconfigured):
    """The upstream says that it has no such model, which it will say to everybody."""


class Rejected(ProviderError):
    """``body`` is the upstream's own words in JSON, and ``headers`` what travels with them, for the client."""

    reason = "rejected"
    outcome = Outcome.OK
    same_target = False

    def __init__(self, message: str, *, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, status=status)
        self.body = body
        self.headers = dict(headers or {})


class Malformed(ProviderError):
    reason = "malformed"


class Truncated(ProviderError):
    reason = "truncated"


class Empty(ProviderError):
    reason = "empty"
