"""Whether a target may be used at all, apart from how well it does: what an operator said of it, and what its upstream did.

drained    by an operator: what runs goes on, nothing new comes
disabled   its upstream refuses our credentials, knows no such model, or wants to be paid: no waiting cures that
resting    it asked us to come back later (429 with Retry-After)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from providers.errors import Misconfigured, QuotaExhausted, RateLimited
from router.errors import Refused
from router.events import StandingChanged
from router.policy import Ending, Ticket
from router.types import Attempt, Call

MAX_REST_SECONDS = 300.0
_BY_STATUS = {401: "credentials", 403: "credentials", 402: "quota"}


class Note(NamedTuple):
    """``until`` on the loop's clock; inf is until somebody says otherwise."""

    label: str
    reason: str
    since: float
    until: float


class Standing:
    """Guard of one target. ``names_model``: it always asks for the same model, so a 404 means that there is none; one that
    passes on what clients ask for is not to blame for a name that they made up.
    """

    name = "standing"

    def __init__(
        self, target: str, *, emit: Callable[[StandingChanged], None] = lambda _: None, names_model: bool = True
    ) -> None:
        self.not_before = -math.inf
        self._target = target
        self._emit = emit
        self._names_model = names_model
        self._drained: Note | None = None
        self._disabled: Note | None = None
        self._clear = True

    def refusal(self, call: Call, now: float) -> str | None:
        return None if self._clear else self._refusal(now)

    def admit(self, attempt: Attempt, now: float) -> Ticket:
        if not self._clear:
            reason = self._refusal(now)
            # A call that was told to wait knows for how long.
            if reason is not None and not (reason == "rate_limited" and attempt.number > 1):
                raise Refused(reason)
        return self

    def begun(self, seconds: float, now: float) -> None:
        pass

    def settle(self, ending: Ending, now: float) -> None:
        failure = ending.failure
        if failure is None:
            return
        if isinstance(failure, RateLimited):
            if failure.retry_after:
                self.not_before = max(self.not_before, now + min(MAX_REST_SECONDS, failure.retry_after))
                self._clear = False
        elif isinstance(failure, QuotaExhausted):
            self._disable("quota", failure.message, now, failure.retry_after)
        elif isinstance(failure, Misconfigured):
            label = _BY_STATUS.get(failure.status or 0)
            if label is None and failure.status == 404 and self._names_model:
                label = "model"
            if label is not None:
                self._disable(label, failure.message, now, failure.retry_after)

    def drain(self, now: float, reason: str, until: float | None = None) -> None:
        """By an operator, until then or until ``undrain``."""
        self._drained = Note("drained", reason, now, math.inf if until is None else until)
        self._clear = False
        self._tell("drained", reason, until, now)

    def undrain(self, now: float, reason: str) -> None:
        if self._drained is not None:
            self._drained = None
            self._tell("ok", reason, None, now)

    def restore(self, now: float, reason: str) -> None:
        """By an operator: whatever its upstream said, it is tried again."""
        self.not_before = -math.inf
        if self._disabled is not None:
            self._disabled = None
            self._tell("ok", reason, None, now)

    def state_at(self, now: float) -> str:
        """ok, drained, disabled or resting."""
        if self._drained is not None and now < self._drained.until:
            return "drained"
        if self._disabled is not None and now < self._disabled.until:
            return "disabled"
        return "resting" if now < self.not_before else "ok"

    def until(self, now: float) -> float | None:
        ends = [note.until for note in (self._drained, self._disabled) if note is not None and now < note.until]
        if now < self.not_before:
            ends.append(self.not_before)
        return max(ends) if ends and max(ends) < math.inf else None

    def describe(self, now: float) -> Mapping[str, Any]:
        state = self.state_at(now)
        note = self._drained if state == "drained" else self._disabled if state == "disabled" else None
        return {
            "state": state,
            "cause": None if note is None else note.label,
            "reason": None if note is None else note.reason,
            "since": None if note is None else note.since,
            "until": self.until(now),
        }

    def _disable(self, label: str, reason: str, now: float, seconds: float | None) -> None:
        until = None if seconds is None else now + seconds
        again = self._disabled is not None and now < self._disabled.until
        self._disabled = Note(label, reason, now, math.inf if until is None else until)
        self._clear = False
        if not again:
            self._tell("disabled", reason, until, now)

    def _refusal(self, now: float) -> str | None:
        if self._drained is not None:
            if now < self._drained.until:
                return "drained"
            self.undrain(now, "its time is over")
        if self._disabled is not None:
            if now < self._disabled.until:
                return f"disabled_{self._disabled.label}"
            self._disabled = None
            self._tell("ok", "its time is over", None, now)
        if now < self.not_before:
            return "rate_limited"
        self._clear = True
        return None

    def _tell(self, standing: str, reason: str, until: float | None, now: float) -> None:
        self._emit(StandingChanged(now, self._target, standing, reason, until))
