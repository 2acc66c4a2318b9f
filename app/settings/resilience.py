"""The settings of resilience: timeouts, retries, and the policies of a target. Times in seconds, shares from 0 to 1.

Their defaults are those of ``router.config``, which says what each does. An override's None is what the outer level has.
"""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from app.settings.scalars import Count, Natural, NotNegative, Number, PerSecond, Positive, Ratio, Seconds, Share, Whole
from app.settings.section import Section

MAX_ATTEMPTS = 10

Attempts = Annotated[Whole, Ge(1), Le(MAX_ATTEMPTS)]
Window = Annotated[Positive, Le(3600)]
Lifetime = Annotated[Number, Ge(1), Le(60)]  # Finagle's bounds
Burst = Annotated[Natural, Le(10_000)]
Limit = Annotated[Number, Ge(1), Le(1_000_000)]
Algorithm = Literal["auto", "aimd", "gradient"]
Rejection = Annotated[Number, Gt(0), Lt(1)]  # a target that is never asked never recovers
MaxTokens = Annotated[Positive, Le(1000)]  # gRPC's bounds


class TimeoutSettings(Section):
    """``first_token`` and ``idle`` bound streams, ``attempt`` an attempt that does not stream, ``total`` a call."""

    connect: Positive = 5.0
    first_token: Positive = 30.0
    idle: Positive = 15.0
    attempt: Positive = 300.0
    total: Positive = 600.0


class TimeoutOverrides(Section):
    connect: Positive | None = None
    first_token: Positive | None = None
    idle: Positive | None = None
    attempt: Positive | None = None
    total: Positive | None = None


class BackoffSettings(Section):
    base: NotNegative = 0.05
    throttle_base: NotNegative = 1.0
    cap: NotNegative = 20.0


class BackoffOverrides(Section):
    base: NotNegative | None = None
    throttle_base: NotNegative | None = None
    cap: NotNegative | None = None


class RetryBudgetSettings(Section):
    enabled: bool = True
    ratio: Ratio = 0.1
    min_per_second: PerSecond = 0.0
    ttl: Lifetime = 10.0
    burst: Burst = 10


class RetryBudgetOverrides(Section):
    enabled: bool | None = None
    ratio: Ratio | None = None
    min_per_second: PerSecond | None = None
    ttl: Lifetime | None = None
    burst: Burst | None = None


class RetryConcurrencySettings(Section):
    enabled: bool = True
    share: Ratio = 0.2
    min: Burst = 3


class RetryConcurrencyOverrides(Section):
    enabled: bool | None = None
    share: Ratio | None = None
    min: Burst | None = None


class RetryThrottleSettings(Section):
    enabled: bool = False
    max_tokens: MaxTokens = 10.0
    token_ratio: Share = 0.1


class RetryThrottleOverrides(Section):
    enabled: bool | None = None
    max_tokens: MaxTokens | None = None
    token_ratio: Share | None = None


class DontRetrySettings(Section):
    enabled: bool = True


class DontRetryOverrides(Section):
    enabled: bool | None = None


class RetrySettings(Section):
    """``max_attempts`` counts every call to an upstream for one client request, the first included."""

    max_attempts: Attempts = 3
    backoff: BackoffSettings = BackoffSettings()
    budget: RetryBudgetSettings = RetryBudgetSettings()
    concurrency: RetryConcurrencySettings = RetryConcurrencySettings()
    throttle: RetryThrottleSettings = RetryThrottleSettings()
    dont_retry: DontRetrySettings = DontRetrySettings()


class RetryOverrides(Section):
    max_attempts: Attempts | None = None
    backoff: BackoffOverrides | None = None
    budget: RetryBudgetOverrides | None = None
    concurrency: RetryConcurrencyOverrides | None = None
    throttle: RetryThrottleOverrides | None = None
    dont_retry: DontRetryOverrides | None = None


class BreakerSettings(Section):
    enabled: bool = True
    window: Window = 30.0
    min_calls: Count = 10
    failure_rate: Share = 0.5
    consecutive: Count = 5
    slow_rate: Share = 1.0
    slow_first_token: Seconds = 20.0
    open_base: Seconds = 5.0
    open_max: Seconds = 300.0
    half_open: Count = 5
    max_ejected: Ratio = 0.5


class BreakerOverrides(Section):
    enabled: bool | None = None
    window: Window | None = None
    min_calls: Count | None = None
    failure_rate: Share | None = None
    consecutive: Count | None = None
    slow_rate: Share | None = None
    slow_first_token: Seconds | None = None
    open_base: Seconds | None = None
    open_max: Seconds | None = None
    half_open: Count | None = None
    max_ejected: Ratio | None = None


class ConcurrencySettings(Section):
    """``algorithm`` auto: what suits the provider's kind. ``initial`` None: found out."""

    enabled: bool = True
    algorithm: Algorithm = "auto"
    initial: Limit | None = None
    min: Limit = 1.0
    max: Limit = 1000.0


class ConcurrencyOverrides(Section):
    enabled: bool | None = None
    algorithm: Algorithm | None = None
    initial: Limit | None = None
    min: Limit | None = None
    max: Limit | None = None


class ThrottleSettings(Section):
    enabled: bool = True
    window: Window = 30.0
    threshold: Share = 0.95
    max_rejection: Rejection = 0.8
    min_per_second: PerSecond = 5.0


class ThrottleOverrides(Section):
    enabled: bool | None = None
    window: Window | None = None
    threshold: Share | None = None
    max_rejection: Rejection | None = None
    min_per_second: PerSecond | None = None


class ProbingSettings(Section):
    """``idle`` None: only before traffic returns."""

    enabled: bool = True
    timeout: Seconds = 2.0
    idle: Seconds | None = None


class ProbingOverrides(Section):
    enabled: bool | None = None
    timeout: Seconds | None = None
    idle: Seconds | None = None


class QueueSettings(Section):
    """``length`` 0: nobody waits."""

    length: Annotated[Natural, Le(100_000)] = 100
    timeout: Seconds = 2.0


class SheddingSettings(Section):
    enabled: bool = True
    max_tokens_in_flight: Annotated[Number, Ge(1)] = 1_000_000.0
    queue: QueueSettings = QueueSettings()
