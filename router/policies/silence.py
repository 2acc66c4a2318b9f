"""Whether a target answers anybody at all.

That a caller left says nothing of a target: he may have left for reasons of his own, and that is never counted. That nobody
else was answered either, for as long as he waited, is known of the target: it hangs, or it works for those who have gone
long ago. Callers are often less patient than ``timeouts.attempt``, and then no attempt ever fails.
"""

from __future__ import annotations

from collections.abc import Iterable

from router.events import Unanswered
from router.types import Live

USUAL = 0.5
LEAST_SECONDS = 1.0
# That none of five is answered within the time in which half of them usually are: once in 32 times, if they are unlike.
TOO_MANY = 5


def silence(
    target: str, live: Live, stream: bool, prompt: int, since: float, waiting: Iterable[float], now: float
) -> Unanswered | None:
    """What an attempt saw that was sent at ``since`` and is given up now, without an answer. ``waiting``: when those were sent
    that wait still, in that order. None if somebody was answered meanwhile, if that was told already, or if it is usual.
    """
    seconds = now - since
    if live.answered_at > since or live.silent_at > since or seconds < LEAST_SECONDS:
        return None
    usual = live.latency.quantile(USUAL, stream, prompt)
    overdue = 1
    if usual is not None:
        if seconds < usual:
            return None
        for sent in waiting:
            if now - sent < usual or overdue >= TOO_MANY:
                break
            overdue += 1
    again = live.silent_at > live.answered_at
    live.silent_at = now
    return Unanswered(now, target, seconds, overdue, again)
