"""Overloaded; don't retry: when retries are a large share of what a route does and most of it fails, they do harm.

The idea is from the SRE book, chapter 21 (a histogram of attempt numbers); the figures are ours (resilience.md K1).
"""

from __future__ import annotations

from math import inf

from providers import Outcome
from router.errors import Refused
from router.measures.window import Window
from router.policy import Ending
from router.types import Attempt

WINDOW_SECONDS = 10.0
SLICES = 10
HELD_SECONDS = 10.0
RETRY_SHARE = 0.1
FAILURE_RATIO = 0.5
LEAST_ATTEMPTS = 20  # so that lone failures say nothing
ATTEMPTS, RETRIES, FAILURES = range(3)


class DontRetry:
    """By route. In ``WINDOW_SECONDS``, of at least ``LEAST_ATTEMPTS``: more than ``RETRY_SHARE`` were second or later
    attempts (a client's own count, too), and more than ``FAILURE_RATIO`` failed. For ``HELD_SECONDS`` from then on
    retries are refused, and clients should be told; first attempts never are.
    """

    def __init__(self) -> None:
        self._histories: dict[str, _History] = {}

    def active(self, model: str, now: float) -> bool:
        """Should clients of this route be told not to retry?"""
        history = self._histories.get(model)
        return history is not None and now < history.until

    def admit(self, attempt: Attempt, now: float) -> _Ticket | None:
        if not attempt.route.retry.dont_retry.enabled:
            return None
        model = attempt.route.model
        history = self._histories.get(model)
        if history is None:
            history = self._histories[model] = _History()
        if attempt.after is not None and now < history.until:
            raise Refused("dont_retry", final=not attempt.hedge)
        return history.retry if attempt.number > 1 or attempt.call.retries else history.original


class _History:
    """Of one route. ``until`` on the loop's clock: how long retries are refused."""

    __slots__ = ("_window", "original", "retry", "until")

    def __init__(self) -> None:
        self.until = -inf
        self.original = _Ticket(self, is_retry=False)
        self.retry = _Ticket(self, is_retry=True)
        self._window = Window(WINDOW_SECONDS, SLICES, counters=3)

    def attempt(self, is_retry: bool, now: float) -> None:
        self._window.add(now, ATTEMPTS)
        if is_retry:
            self._window.add(now, RETRIES)

    def failure(self, now: float) -> None:
        self._window.add(now, FAILURES)
        if now < self.until:
            return
        attempts, retries, failures = self._window.totals
        many = attempts >= LEAST_ATTEMPTS and retries > RETRY_SHARE * attempts
        if many and failures > FAILURE_RATIO * attempts:
            self.until = now + HELD_SECONDS


class _Ticket:
    """Of all the attempts of a route that are retries, or of all that are not: there is nothing to remember of one.

    An attempt counts once it is known that the target answered or failed; a client that left before says nothing.
    """

    __slots__ = ("_history", "_is_retry")

    def __init__(self, history: _History, *, is_retry: bool) -> None:
        self._history = history
        self._is_retry = is_retry

    def begun(self, seconds: float, now: float) -> None:
        self._history.attempt(self._is_retry, now)

    def settle(self, ending: Ending, now: float) -> None:
        """An answer that breaks off is a failure too, now; the attempt was counted when it began."""
        outcome = ending.outcome
        if ending.silent:
            self._history.attempt(self._is_retry, now)
        if outcome is not Outcome.OK and outcome is not Outcome.IGNORED:
            self._history.failure(now)
