"""How clients try again by themselves, beyond what the gateway does for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from providers import ProviderError
from router.errors import RouterError

# openai-python: beyond this it does not try again.
MAX_RETRY_AFTER = 120.0


class Jitter(StrEnum):
    """What is made of min(cap, base * 2**n): nothing; uniform from 0 to it (AWS); up to a quarter less (openai-python)."""

    NONE = "none"
    FULL = "full"
    SDK = "sdk"


@dataclass(frozen=True, slots=True)
class RetryTokens:
    """A bucket that starts full, with ``most``: each request puts ``deposit`` in, and each retry takes 1 (Brooker 2022,
    ``AdaptiveRetryStrategy``).
    """

    deposit: float = 0.1
    most: float = 5.0

    def __post_init__(self) -> None:
        if self.deposit < 0 or self.most < 0:
            raise ValueError("budget: deposit and most must be at least 0")


@dataclass(frozen=True, slots=True)
class Retries:
    """At most ``count`` after the first call, backing off from ``base`` to ``cap`` seconds. ``honours``: Retry-After up to 120 s
    is kept exactly, beyond it nothing is tried again, and x-should-retry goes before the status, as in the official SDKs.
    ``budget`` and ``stop_above`` are each client's own: the latter ends retries while it has seen more failed calls than this
    share of its requests (Brooker's breaker). Raises ValueError that names the field.
    """

    count: int = 0
    base: float = 0.5
    cap: float = 8.0
    jitter: Jitter = Jitter.FULL
    honours: bool = True
    budget: RetryTokens | None = None
    stop_above: float | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count: must be at least 0")
        if not 0 <= self.base <= self.cap < math.inf:
            raise ValueError("base, cap: 0 <= base <= cap")


NO_RETRIES = Retries()
# What openai-python does when nobody says otherwise.
SDK_RETRIES = Retries(count=2, jitter=Jitter.SDK)


class Told(NamedTuple):
    """What a client can know of a call that was not served. ``status`` None: no answer in time, or it broke off."""

    status: int | None
    retry_after: float | None = None
    should_retry: bool | None = None


Telling = Callable[[RouterError | ProviderError], Told]


def tell_nothing(_error: RouterError | ProviderError) -> Told:
    """A gateway that says no more than that it could not."""
    return Told(503)


class Client:
    """One of a population: what it remembers from one request to the next."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._tokens = math.inf if retries.budget is None else retries.budget.most
        self._requests = self._failures = 0

    def begin(self) -> None:
        """A request, not one of its retries."""
        self._requests += 1
        budget = self._retries.budget
        if budget is not None:
            self._tokens = min(budget.most, self._tokens + budget.deposit)

    def pause(self, told: Told, tries: int, chance: float) -> float | None:
        """Seconds until it tries again, None if it does not. ``tries`` so far, from 1; ``chance`` in [0, 1)."""
        law = self._retries
        self._failures += 1
        wait = _backoff(law, told, tries, chance)
        if wait is None or tries > law.count:
            return None
        if law.stop_above is not None and self._failures > law.stop_above * self._requests:
            return None
        if self._tokens < 1.0:
            return None
        self._tokens -= 1.0
        return wait


def _backoff(law: Retries, told: Told, tries: int, chance: float) -> float | None:
    status, named, should = told
    worth = status is None or status in (408, 409, 429) or status >= 500
    if law.honours:
        if should is not None:
            worth = should
        if named is not None and named > 0:
            return named if worth and named <= MAX_RETRY_AFTER else None
    if not worth:
        return None
    most = min(law.cap, law.base * 2.0 ** (tries - 1))
    if law.jitter is Jitter.FULL:
        return chance * most
    return most * (1.0 - 0.25 * chance) if law.jitter is Jitter.SDK else most
