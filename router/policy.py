"""Admission returns a ticket: a policy is asked once, told when the answer begins, and told once how it ended.

A policy is synchronous and takes the time as an argument, so it cannot tell a real clock from a virtual one.
It does not wait, does no I/O and never sees a chunk.

    Policy      admit ─► ticket or Refused            rules: is there another attempt at all?
    └── Guard   the same, and belongs to one target   may this target take it? Looks without taking, and describes itself
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from providers import Outcome, ProviderError, Usage
from router.types import Attempt, Call


class Ending(NamedTuple):
    """How an attempt ended. ``sent`` False: it never left, so nothing of it may count. ``failure`` says why it failed, and
    ``midway`` that its answer had begun; ``usage`` is what the upstream counted, if it said.
    """

    outcome: Outcome
    failure: ProviderError | None = None
    usage: Usage | None = None
    sent: bool = True
    midway: bool = False

    @property
    def silent(self) -> bool:
        """It is over before an answer has begun, and says something of its target all the same."""
        if self.failure is None and self.outcome is Outcome.OK:
            return False
        return not self.midway and self.outcome is not Outcome.IGNORED

    @property
    def label(self) -> str | None:
        """What went wrong, as x-attempts would show it."""
        return None if self.failure is None else self.failure.label


OK = Ending(Outcome.OK)
IGNORED = Ending(Outcome.IGNORED)
UNSENT = Ending(Outcome.IGNORED, sent=False)


class Ticket(Protocol):
    """For one attempt. ``settle`` comes exactly once; ``begun`` before it, at most once."""

    def begun(self, seconds: float, now: float) -> None:
        """The first content is in hand, ``seconds`` after the attempt was sent: the commit point."""
        ...

    def settle(self, ending: Ending, now: float) -> None:
        """The attempt is over, with the last byte of its stream."""
        ...


class Policy(Protocol):
    def admit(self, attempt: Attempt, now: float) -> Ticket | None:
        """``now`` in seconds on the loop's clock. None: it keeps nothing. Raises ``Refused``."""
        ...


class Guard(Policy, Protocol):
    """A policy with the state of one target. ``name`` is a bounded label."""

    @property
    def name(self) -> str: ...

    def refusal(self, call: Call, now: float) -> str | None:
        """Why it would refuse ``call`` now, as a bounded label; None if it would not. Takes nothing."""
        ...

    def until(self, now: float) -> float | None:
        """When it will stop refusing, on the loop's clock; None if it does not refuse now, or does not know."""
        ...

    def describe(self, now: float) -> Mapping[str, Any]:
        """Its state in plain values, for people: the admin API and decision records."""
        ...


def admit_all(policies: Sequence[Policy], attempt: Attempt, now: float) -> list[Ticket]:
    """A ticket from each policy, or none: if one refuses, those before it are told that nothing happened."""
    tickets: list[Ticket] = []
    try:
        for policy in policies:
            ticket = policy.admit(attempt, now)
            if ticket is not None:
                tickets.append(ticket)
    except BaseException:
        settle_all(tickets, UNSENT, now)
        raise
    return tickets


def settle_all(tickets: list[Ticket], ending: Ending, now: float) -> None:
    """Hand every ticket back, last first. ``tickets`` is empty afterwards, so twice is once."""
    while tickets:
        try:
            tickets.pop().settle(ending, now)
        except BaseException:  # one that fails does not keep the others from theirs
            settle_all(tickets, ending, now)
            raise
