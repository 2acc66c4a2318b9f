"""Counts what a target is doing and how it has been. Refuses nothing; readiness, metrics, picks and rules read it.

Says so when callers give up and nobody is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from providers import Outcome, ProviderError
from providers.errors import RateLimited
from router.events import Unanswered
from router.policies.silence import Silence
from router.policy import Ending, Ticket
from router.types import Attempt, Call, Live

# What a failure is scored as by time (Linkerd's load biaser, which has it for 429s): its Retry-After, within these seconds.
LEAST_PENALTY = 5.0
MOST_PENALTY = 300.0


class Load:
    name = "load"

    def __init__(self, live: Live, target: str = "", emit: Callable[[Unanswered], None] = lambda _: None) -> None:
        self.emit = emit
        self.silence = Silence(target, live)
        self._live = live

    def refusal(self, call: Call, now: float) -> str | None:
        return None

    def admit(self, attempt: Attempt, now: float) -> Ticket:
        live = self._live
        live.in_flight += 1
        live.tokens += attempt.tokens
        live.used = now
        ticket = _Ticket(self, live, attempt, now)
        self.silence.asked(ticket)
        return ticket

    def until(self, now: float) -> float | None:
        return None

    def describe(self, now: float) -> Mapping[str, Any]:
        live = self._live
        return {
            "in_flight": live.in_flight,
            "waiting": self.silence.waiting,
            "tokens": live.tokens,
            "failures": live.failures,
            "last_failure": live.last_failure,
            "seconds_to_first_content": live.latency.estimate(stream=True, now=now),
            "seconds_to_answer": live.latency.estimate(stream=False, now=now),
        }


class _Ticket:
    """Numbers only: the attempt leads to the request, whose body would live as long as the stream."""

    __slots__ = ("_begun", "_live", "_load", "_outputs", "_tokens", "prompt", "sent", "stream")

    def __init__(self, load: Load, live: Live, attempt: Attempt, now: float) -> None:
        self._load = load
        self._live = live
        self._begun = False
        self._tokens = attempt.tokens
        self.prompt = attempt.prompt
        self.stream = attempt.call.request.stream
        self._outputs = attempt.route.outputs
        self.sent = now

    def begun(self, seconds: float, now: float) -> None:
        self._begun = True
        self._load.silence.answered(self, now)
        self._live.latency.observe(self.stream, self.prompt, seconds, now)

    def settle(self, ending: Ending, now: float) -> None:
        live = self._live
        live.in_flight -= 1
        live.tokens -= self._tokens
        outcome = ending.outcome
        if not self._begun:
            self._unanswered(ending, now)
        if outcome is Outcome.OK:
            if live.failures and self.sent >= live.failed_at:  # what was asked before says nothing of what is now
                live.failures = 0
                live.last_failure = None
            if ending.usage is not None:  # of a whole answer: one cut short says nothing about their length
                self._outputs.add(ending.usage.output_tokens)
        elif outcome is not Outcome.IGNORED:
            live.failures += 1
            live.last_failure = outcome.value
            live.failed_at = now
            if not ending.midway:
                live.latency.penalise(self._penalty(ending.failure, now), now)

    def _unanswered(self, ending: Ending, now: float) -> None:
        silence = self._load.silence
        if ending.outcome is not Outcome.IGNORED or ending.failure is not None or not ending.sent:
            silence.over(self)
            return
        event = silence.given_up(self, now)
        if event is not None:
            self._load.emit(event)

    def _penalty(self, failure: ProviderError | None, now: float) -> float:
        """A failure that comes fast must not look like a fast answer, and one that took long was at least as long."""
        named = failure.retry_after if isinstance(failure, RateLimited) else None
        return max(LEAST_PENALTY, min(MOST_PENALTY, named or 0.0), now - self.sent)
