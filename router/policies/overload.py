"""What says that a target is asked too much, for those policies that ask less of it then."""

from __future__ import annotations

from providers import Outcome
from providers.errors import TimedOut
from router.policy import Ending


def overloaded(ending: Ending) -> bool:
    """429, 503 and 529, and silence until the time for a first token is over: a target that queues and never refuses
    shows it so. No other time-out counts: a connection may fail for many reasons, and how long a whole answer takes is
    a matter of its length.
    """
    if ending.outcome is Outcome.OVERLOAD:
        return True
    return isinstance(ending.failure, TimedOut) and ending.failure.phase == "first_token"


def unanswered(ending: Ending) -> bool:
    """A plain answer that did not come within the time of an attempt: by itself that may be a matter of its length."""
    return isinstance(ending.failure, TimedOut) and ending.failure.phase == "attempt" and not ending.midway
