"""Why a call was not served. What went wrong at an upstream is in ``providers.errors``.

RouterError
├── ModelNotFound      no route serves this model
├── UnknownPin         the client pinned a provider that has no target for this model
├── NoTarget           nothing to try: all are ejected, drained, at their limit
├── AllRateLimited     nothing to try: every target has asked us to wait
├── DeadlineExceeded   the call's own time is over
├── Shed               the gateway has too much to do; ``cause`` says by which rule, ``retry_after`` when there is less
├── Exhausted          every attempt failed; ``cause`` is the last failure
└── RequestRejected    an upstream found the request itself wrong; ``cause`` has its words
Refused                (not a RouterError: a policy's no, handled inside the dispatcher)
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import ClassVar

from providers import ProviderError
from providers.errors import RateLimited, Rejected
from router.types import Tried


class RouterError(Exception):
    """``attempts`` is what was tried, in order. ``reason`` is a bounded label. ``storm``: retries are most of what fails, so
    a client had better not try again by itself.
    """

    reason = "router"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.attempts: tuple[Tried, ...] = ()
        self.waited = 0.0
        self.storm = False


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
    """``retry_after``: seconds until the first target may be back; None if none says."""

    reason = "no_healthy_target"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AllRateLimited(NoTarget):
    reason = "rate_limited"


class DeadlineExceeded(RouterError):
    reason = "deadline_exceeded"


class Shed(RouterError):
    """Turned away: there is too much to do. ``cause`` is one of ``CAUSES``; ``retry_after`` in seconds, as the gate expects it."""

    reason = "overloaded"
    CAUSES: ClassVar = {
        "progressive": "calls of this priority are turned away first",
        "expected_wait": "this call would have to wait for too long",
        "queue_full": "too many calls wait already",
        "queue_evicted": "a call of higher priority took this one's place in the queue",
        "queue_timeout": "this call has waited for as long as it may",
        "targets_full": "every target of this model has as much to do as it can",
    }

    def __init__(self, cause: str, retry_after: float) -> None:
        seconds = ceil(retry_after)
        super().__init__(f"the gateway is overloaded: {self.CAUSES[cause]}; try again in {seconds} s")
        self.cause = cause
        self.retry_after = retry_after


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
