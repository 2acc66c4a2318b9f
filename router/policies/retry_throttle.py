"""gRPC's retryThrottling (gRFC A6), besides the budgets or instead of them: where calls fail there are no retries."""

from __future__ import annotations

from providers import Outcome
from router.errors import Refused
from router.policy import Ending
from router.types import Attempt, Live

SCALE = 1000  # token_ratio has three decimals; whole thousandths add up exactly


class RetryThrottle:
    """The token count of one server: from ``max_tokens`` down; retries are allowed while it is above half of that."""

    __slots__ = ("_half", "_max", "_success", "_tokens")

    def __init__(self, max_tokens: float = 10.0, token_ratio: float = 0.1) -> None:
        self._max = self._tokens = round(max_tokens * SCALE)
        self._half = self._max / 2
        self._success = round(token_ratio * SCALE)

    def failed(self) -> None:
        self._tokens = max(0, self._tokens - SCALE)

    def succeeded(self) -> None:
        self._tokens = min(self._max, self._tokens + self._success)

    @property
    def allows(self) -> bool:
        return self._tokens > self._half

    @property
    def tokens(self) -> float:
        return self._tokens / SCALE


class RetryThrottles:
    """One ``RetryThrottle`` a target, set up by the first route that uses it. The first attempt always goes.

    A retry or a hedge is judged by the target that it follows. What counts is decided at the end of an answer: a fault,
    an overload or the upstream's own word not to retry is a failure; a complete answer is a success; what says nothing
    of the target (a wrong request, our key, a client that left) does not count.
    """

    def __init__(self) -> None:
        self._throttles: dict[Live, RetryThrottle] = {}

    def admit(self, attempt: Attempt, now: float) -> _Ticket | None:
        if not attempt.route.retry.throttle.enabled:
            return None
        if attempt.after is not None and not self._of(attempt.after.live, attempt).allows:
            raise Refused("retry_throttle", final=not attempt.hedge)
        return _Ticket(self._of(attempt.target.live, attempt))

    def _of(self, live: Live, attempt: Attempt) -> RetryThrottle:
        throttle = self._throttles.get(live)
        if throttle is None:
            config = attempt.route.retry.throttle
            throttle = self._throttles[live] = RetryThrottle(config.max_tokens, config.token_ratio)
        return throttle


class _Ticket:
    __slots__ = ("_throttle",)

    def __init__(self, throttle: RetryThrottle) -> None:
        self._throttle = throttle

    def begun(self, seconds: float, now: float) -> None:
        pass

    def settle(self, ending: Ending, now: float) -> None:
        outcome, failure = ending.outcome, ending.failure
        told_not_to = failure is not None and failure.should_retry is False
        if told_not_to or outcome is Outcome.FAULT or outcome is Outcome.OVERLOAD:
            self._throttle.failed()
        elif outcome is Outcome.OK and failure is None:
            self._throttle.succeeded()
