"""Admission returns the way out: a policy is asked once, and told once how it ended.

A policy is synchronous and takes the time as an argument, so it cannot tell a real clock from a virtual one.
It does not wait, does no I/O and never sees a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from providers import Outcome
from router.types import Attempt

Settle = Callable[[Outcome, float], None]


def no_settlement(outcome: Outcome, now: float) -> None:
    """For a policy that keeps nothing."""


class Policy(Protocol):
    def admit(self, attempt: Attempt, now: float) -> Settle:
        """``now`` in seconds on the loop's clock. Raises ``Refused``. The result is called exactly once."""
        ...


def admit_all(policies: Sequence[Policy], attempt: Attempt, now: float) -> list[Settle]:
    """A ticket from each policy, or none: if one refuses, those before it are told that nothing happened."""
    tickets: list[Settle] = []
    try:
        for policy in policies:
            settle = policy.admit(attempt, now)
            if settle is not no_settlement:
                tickets.append(settle)
    except BaseException:
        settle_all(tickets, Outcome.IGNORED, now)
        raise
    return tickets


def settle_all(tickets: list[Settle], outcome: Outcome, now: float) -> None:
    """Hand every ticket back, last first. ``tickets`` is empty afterwards, so twice is once."""
    if tickets:
        try:
            tickets.pop()(outcome, now)
        finally:  # one that fails does not keep the others from theirs
            settle_all(tickets, outcome, now)
