"""Whether a target may be used at all, apart from how well it does: what an operator said of it, and what its upstream did.

    drained    by an operator: what runs goes on, nothing new comes
    disabled   it fails all calls alike, and no retry cures that; an alarm, by what it said:
                 401, 403                credentials   until it is restored, or comes anew with another configuration
                 402, 429 for quota      quota         until the time that it named, else until it is restored
                 404 for the model       model         until it is restored; only where it is always the same model
                 a redirect              address       for ``MAX_REST_SECONDS``: it may be a notice that goes away
    resting    it asked us to come back later: 429 or 529 with Retry-After. A 503 is a server that is full now, and may have room
               in a moment, whatever its Retry-After says to clients

What else is misconfigured has no status, and may be one call's own fault: it disables nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from providers import ProviderError
from providers.errors import Misconfigured, Overloaded, QuotaExhausted, RateLimited, UnknownModel
from router.errors import Refused
from router.events import StandingChanged
from router.policy import Ending, Ticket
from router.types import Attempt, Call

MAX_REST_SECONDS = 300.0
RATE_LIMITED = "rate_limited"
_BY_STATUS = {401: "credentials", 402: "quota", 403: "credentials"}


class Note(NamedTuple):
    """``until`` on the loop's clock; inf is until somebody says otherwise."""

    cause: str | None
    reason: str
    since: float
    until: float


class Standing:
    """Guard of one target. ``names_model``: it always asks for the same model, so there is none if it is unknown; one that
    passes on what clients ask for is not to blame for a name that they made up. ``listens`` False: only operators take it out.

    ``not_before``: when its rest is over, on the loop's clock. A call that has met it knows its own wait, so it keeps out
    first attempts only.
    """

    name = "standing"

    def __init__(
        self,
        target: str,
        *,
        emit: Callable[[StandingChanged], None] = lambda _: None,
        names_model: bool = True,
        listens: bool = True,
    ) -> None:
        self._listens = listens
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
            if reason is not None and not (reason == RATE_LIMITED and attempt.number > 1):
                raise Refused(reason)
        return self

    def begun(self, seconds: float, now: float) -> None:
        pass

    def settle(self, ending: Ending, now: float) -> None:
        failure = ending.failure
        if failure is None or not self._listens:
            return
        if isinstance(failure, RateLimited) or (isinstance(failure, Overloaded) and failure.status == 529):
            if failure.retry_after:
                self.not_before = max(self.not_before, now + min(MAX_REST_SECONDS, failure.retry_after))
                self._clear = False
        elif (cause := self._cause(failure)) is not None:
            seconds = MAX_REST_SECONDS if cause == "address" else failure.retry_after
            self._disable(cause, failure.message, now, math.inf if seconds is None else now + seconds)

    def drain(self, now: float, reason: str, until: float | None = None) -> None:
        """By an operator, until then or until ``undrain``."""
        self._drained = Note(None, reason, now, math.inf if until is None else until)
        self._clear = False
        self._tell("drained", reason, until, now)

    def undrain(self, now: float, reason: str) -> None:
        if self._drained is not None:
            self._drained = None
            self._tell("undrained", reason, None, now)

    def restore(self, now: float, reason: str) -> None:
        """By an operator: whatever its upstream said, it is tried again."""
        self.not_before = -math.inf
        if self._disabled is not None:
            self._disabled = None
            self._tell("restored", reason, None, now)

    def state_at(self, now: float) -> str:
        """ok, drained, disabled or resting: the first that holds of drained, disabled, resting."""
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
            "cause": None if note is None else note.cause,
            "reason": None if note is None else note.reason,
            "since": None if note is None else note.since,
            "until": self.until(now),
        }

    def _cause(self, failure: ProviderError) -> str | None:
        """What disables it, as a bounded label; None if that does not."""
        if isinstance(failure, QuotaExhausted):
            return "quota"
        if not isinstance(failure, Misconfigured) or failure.status is None:
            return None
        if isinstance(failure, UnknownModel):
            return "model" if self._names_model else None
        return "address" if 300 <= failure.status < 400 else _BY_STATUS.get(failure.status)

    def _disable(self, cause: str, reason: str, now: float, until: float) -> None:
        """For no less than it is disabled already. Many calls may find out at once, and one of them tells."""
        old = self._disabled
        if old is not None and old.until <= now:
            old = None
        if old is not None and until <= old.until:
            return
        self._disabled = Note(cause, reason, now if old is None else old.since, until)
        self._clear = False
        if old is None or cause != old.cause:
            self._tell("disabled", reason, until if until < math.inf else None, now)

    def _refusal(self, now: float) -> str | None:
        """After what time has ended, if there is such."""
        if self._drained is not None:
            if now < self._drained.until:
                return "drained"
            self.undrain(now, "its time is over")
        if self._disabled is not None:
            if now < self._disabled.until:
                return f"disabled_{self._disabled.cause}"
            self._disabled = None
            self._tell("restored", "its time is over", None, now)
        if now < self.not_before:
            return RATE_LIMITED
        self._clear = True
        return None

    def _tell(self, standing: str, reason: str, until: float | None, now: float) -> None:
        self._emit(StandingChanged(now, self._target, standing, reason, until))
