"""The routing core's settings: small frozen values with their defaults. Seconds throughout; reads no environment.

Where the defaults come from: docs/RESILIENCE.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Timeouts:
    """``first_token`` and ``idle`` bound streams, ``attempt`` an attempt that does not stream, ``total`` a call."""

    connect: float = 5.0
    first_token: float = 30.0
    idle: float = 15.0
    attempt: float = 300.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter before a target's n-th retry in a call: uniform in [0, min(cap, base * 2**(n-1))] seconds (AWS).

    ``throttle_base`` instead of ``base`` after the target said that it is asked too much.
    """

    base: float = 0.05
    throttle_base: float = 1.0
    cap: float = 20.0


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Retries per ``ttl`` seconds: ``ratio`` of the first attempts, and ``min_per_second`` besides (Finagle).

    ``burst``: how many may come before any first attempt has paid for them.
    """

    enabled: bool = True
    ratio: float = 0.1
    min_per_second: float = 0.0
    ttl: float = 10.0
    burst: int = 10


@dataclass(frozen=True, slots=True)
class RetryConcurrency:
    """Retries that run at once: at most max(``min``, ``share`` of all that runs) (Envoy)."""

    enabled: bool = True
    share: float = 0.2
    min: int = 3


@dataclass(frozen=True, slots=True)
class RetryThrottle:
    """Retries only while more than half of ``max_tokens`` is left: a failure takes 1, a success returns ``token_ratio``
    (gRPC A6). Off unless it is wanted instead of the budgets, or besides.
    """

    enabled: bool = False
    max_tokens: float = 10.0
    token_ratio: float = 0.1


@dataclass(frozen=True, slots=True)
class DontRetry:
    """No retries while they are a large share of what a route does and most of it fails (SRE book, chapter 21)."""

    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Retry:
    """``max_attempts`` counts every call to an upstream for one client request, the first included."""

    max_attempts: int = 3
    backoff: Backoff = field(default_factory=Backoff)
    budget: RetryBudget = field(default_factory=RetryBudget)
    concurrency: RetryConcurrency = field(default_factory=RetryConcurrency)
    throttle: RetryThrottle = field(default_factory=RetryThrottle)
    dont_retry: DontRetry = field(default_factory=DontRetry)


@dataclass(frozen=True, slots=True)
class Breaker:
    """A time window with failure and slow rates (resilience4j), consecutive failures and growing ejection (Envoy).

    Opens at ``failure_rate`` or ``slow_rate`` (0 to 1) of at least ``min_calls`` in ``window`` seconds, or after
    ``consecutive`` hard failures in a row; a stream that takes longer than ``slow_first_token`` to its first
    content is slow (a plain answer never is: what takes long is its length). It stays open for
    ``open_base`` times the openings in a row, ``open_max`` at most, and up to half as long again by chance; then
    ``half_open`` probes decide. At most ``max_ejected`` of a route's targets are ejected, but always at least one may be.
    """

    enabled: bool = True
    window: float = 30.0
    min_calls: int = 10
    failure_rate: float = 0.5
    consecutive: int = 5
    slow_rate: float = 1.0
    slow_first_token: float = 20.0
    open_base: float = 5.0
    open_max: float = 300.0
    half_open: int = 5
    max_ejected: float = 0.5


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How much a target may do at once, in requests of its typical size in tokens. ``aimd`` halts growth at overload
    (remote APIs); ``gradient`` follows the time to first token (self-hosted). ``initial`` None: no limit until the first
    overload has shown one (aimd), or 20 (gradient).
    """

    enabled: bool = True
    algorithm: Literal["aimd", "gradient"] = "aimd"
    initial: float | None = None
    min: float = 1.0
    max: float = 1000.0


@dataclass(frozen=True, slots=True)
class Throttle:
    """Turn calls away from a target by the share that it turns away itself (Envoy admission control, Finagle nacks).

    Acts when more than 1 - ``threshold`` of at least ``min_per_second`` calls in ``window`` seconds met overload, and
    turns away at most ``max_rejection``.
    """

    enabled: bool = True
    window: float = 30.0
    threshold: float = 0.95
    max_rejection: float = 0.8
    min_per_second: float = 5.0


@dataclass(frozen=True, slots=True)
class Queue:
    """Calls that wait for room: ``length`` at most, each for ``timeout`` seconds at most."""

    length: int = 100
    timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class Shedding:
    """``max_tokens_in_flight``: what all calls together may hold, as input + 2 x output tokens (VTC)."""

    enabled: bool = True
    max_tokens_in_flight: float = 1_000_000
    queue: Queue = field(default_factory=Queue)


@dataclass(frozen=True, slots=True)
class Hedge:
    """A second attempt at another target when the first has said nothing for ``after``: seconds, or a quantile of the
    target's own times to first token (``quantile`` 0 to 1, if ``after`` is None). ``max_share`` of the calls at most.
    """

    after: float | None = None
    quantile: float = 0.95
    max_share: float = 0.05


@dataclass(frozen=True, slots=True)
class Probing:
    """Ask an upstream cheaply (its list of models, its health) before traffic returns to it; ``timeout`` seconds.

    ``idle``: also one that has had no traffic for so many seconds; None is never.
    """

    enabled: bool = True
    timeout: float = 2.0
    idle: float | None = None


@dataclass(frozen=True, slots=True)
class Chaos:
    """What faults may do. ``max_active``: how many attempts may be under one at once, as a share of those that run (up to 1)
    or as a number, and always one; ``max_ttl`` in seconds.
    """

    enabled: bool = True
    max_active: float = 0.5
    max_ttl: float = 900.0
