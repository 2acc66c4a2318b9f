"""One deadline over all attempts of a call: none starts that could not even begin to answer in time."""

from __future__ import annotations

from router.errors import Refused
from router.types import Attempt, Live

USUAL = 0.5
FASTEST = 0.0
# After so many seconds of refusals one first attempt goes all the same: only an answer shows that a target got faster.
PROOF_SECONDS = 10.0


class Deadline:
    """A retry needs the time that its target usually takes to its first content; a first attempt is refused only if the
    fastest answer known would be too late: another target may be faster. ``deadline`` is the only reason.
    """

    def __init__(self) -> None:
        self._proof_due: dict[Live, float] = {}

    def admit(self, attempt: Attempt, now: float) -> None:
        left = attempt.deadline - max(now, attempt.starts)
        if left <= 0:
            raise Refused("deadline", final=not attempt.hedge)
        stream, target = attempt.call.request.stream, attempt.target
        timeouts = target.timeouts
        if left >= (timeouts.first_token if stream else timeouts.attempt):
            return  # it would not be given more in any case
        first = attempt.after is None
        needed = target.live.latency.quantile(FASTEST if first else USUAL, stream, attempt.prompt)
        if needed is not None and needed > left and not (first and self._proves(target.live, now)):
            raise Refused("deadline")

    def _proves(self, live: Live, now: float) -> bool:
        if now < self._proof_due.setdefault(live, now + PROOF_SECONDS):
            return False
        self._proof_due[live] = now + PROOF_SECONDS
        return True
