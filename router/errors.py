"""Why a call was not served. What went wrong at an upstream is in ``providers.errors``.

RouterError
├── ModelNotFound      no route serves this model
├── UnknownPin         the client pinned a provider that has no target for this model
├── NoTarget           nothing to try
├── DeadlineExceeded   the call's own time is over
├── Exhausted          every attempt failed; ``cause`` is the last failure
└── RequestRejected    an upstream found the request itself wrong; ``cause`` has its words
Refused                (not a RouterError: a policy's no, handled inside the dispatcher)
"""

from __future__ import annotations

from collections.abc import Sequence

from providers import ProviderError
from providers.errors import RateLimited, Rejected
from router.types import Tried


class RouterError(Exception):
    """``attempts`` is what was tried, in order. ``reason`` is a bounded label."""

    reason = "router"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.attempts: tuple[Tried, ...] = ()
        self.waited = 0.0


class ModelNotFound(RouterError):
    reason = "model_not_found"

    def __init__(self, model: str, known: Sequence[str]) -> None:
        served = ", ".join(known) or "none"
        super().__init__(f"no route serves the model {model!r}; models: {served}")
        self.model = model


class UnknownPin(RouterError):
    reason = "unknown_pin"

    def __init__(self, name: str, model: str, known: Sequence[str]) -> None:
        super().__init__(f"X-Provider-Priority: {name!r} has no target for {model!r}; these do: {', '.join(known)}")


class NoTarget(RouterError):
    reason = "no_healthy_target"


class DeadlineExceeded(RouterError):
    reason = "deadline_exceeded"


class Exhausted(RouterError):
    """``throttled``: every attempt met a rate limit; ``retry_after`` is then the soonest that one of them named."""

    reason = "exhausted"

    def __init__(self, failures: Sequence[ProviderError]) -> None:
        self.cause = failures[-1]
        super().__init__(self.cause.message)
        self.throttled = all(isinstance(failure, RateLimited) for failure in failures)
        named = [failure.retry_after for failure in failures if failure.retry_after is not None]
        self.retry_after = min(named, default=None)


class RequestRejected(RouterError):
    reason = "rejected"

    def __init__(self, cause: Rejected) -> None:
        super().__init__(cause.message)
        self.cause = cause


class Refused(Exception):
    """A policy says no. ``final`` ends the call; else the dispatcher looks for another target."""

    def __init__(self, reason: str, *, final: bool = False, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final
        self.retry_after = retry_after
