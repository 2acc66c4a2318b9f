"""Facts leave sideways: what has happened, frozen, to listeners that return nothing. Nothing here decides.

Times are seconds on the loop's clock. ``target`` is provider/model as configured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar


class Admitted(NamedTuple):
    """A call came through the gate, after ``waited`` seconds in its queue."""

    at: float
    request_id: str
    model: str
    priority: str
    tokens: int
    waited: float


class Shed(NamedTuple):
    """A call was turned away: by the gate, or when it was in and every target was full. ``reason`` is a bounded label."""

    at: float
    request_id: str
    model: str
    priority: str
    reason: str


class AttemptStarted(NamedTuple):
    at: float
    request_id: str
    target: str
    number: int
    hedge: bool


class Committed(NamedTuple):
    """The first content is in hand, ``seconds`` after the attempt was sent."""

    at: float
    request_id: str
    target: str
    number: int
    seconds: float


class AttemptEnded(NamedTuple):
    """``label`` as in x-attempts; ``outcome`` ok, fault, overload or ignored."""

    at: float
    request_id: str
    target: str
    number: int
    outcome: str
    label: str
    seconds: float


class RetryRefused(NamedTuple):
    """There will be no further attempt for a call; ``reason`` is the rule's bounded label."""

    at: float
    request_id: str
    target: str
    reason: str


class BreakerMoved(NamedTuple):
    """One line of a breaker's timeline. ``calls``, ``failures``, ``slow``: of its window, before it moved; ``ejections``
    in a row; ``open_until`` 0 unless it is open.
    """

    at: float
    target: str
    before: str
    after: str
    reason: str
    calls: int
    failures: int
    slow: int
    ejections: int
    open_until: float


class Unanswered(NamedTuple):
    """An attempt was given up after ``seconds`` in which its target answered nobody. Of all that were ``in_flight`` there so many
    were ``waiting`` for content, itself included; ``drowned``: too many for too long. ``again``: nobody has been answered since it
    was last found so, a short time ago.
    """

    at: float
    target: str
    seconds: float
    waiting: int
    in_flight: int
    drowned: bool
    again: bool


class StandingChanged(NamedTuple):
    """A target was drained, undrained, disabled or restored, by an operator or by what its upstream said."""

    at: float
    target: str
    standing: str
    reason: str
    until: float | None


class WeightsChanged(NamedTuple):
    at: float
    route: str
    weights: tuple[tuple[str, float], ...]


class FaultStarted(NamedTuple):
    """A fault acts from now until ``ends`` at the latest, on ``targets``."""

    at: float
    fault: str
    kind: str
    targets: tuple[str, ...]
    ends: float
    reason: str


class FaultStopped(NamedTuple):
    """``why``: expired, stopped, dead_man, slo_guard, request_over or draining, and ``told`` that one's own words; ``injected`` so often."""

    at: float
    fault: str
    kind: str
    targets: tuple[str, ...]
    why: str
    told: str | None
    injected: int


class FaultInjected(NamedTuple):
    """One attempt meets a fault."""

    at: float
    request_id: str
    target: str
    fault: str
    kind: str


class FaultOverflowed(NamedTuple):
    """One attempt was to meet a fault, but as many as may are under one already."""

    at: float
    request_id: str
    target: str
    fault: str
    kind: str


Event = (
    Admitted
    | Shed
    | AttemptStarted
    | Committed
    | AttemptEnded
    | RetryRefused
    | BreakerMoved
    | Unanswered
    | StandingChanged
    | WeightsChanged
    | FaultStarted
    | FaultStopped
    | FaultInjected
    | FaultOverflowed
)
OF_ATTEMPTS: tuple[type[Event], ...] = (AttemptStarted, Committed, AttemptEnded)
Listener = Callable[[Any], None]
Kind = TypeVar("Kind", bound=Event)


class Events:
    """Who wants to know what. An event that nobody wants need not be made: ``wanted``; ``attempts_wanted`` says whether
    anybody wants those that every attempt has.
    """

    def __init__(self) -> None:
        self.attempts_wanted = False
        self._listeners: dict[type[Event], tuple[Listener, ...]] = {}

    def listen(self, listener: Listener, *kinds: type[Event]) -> Callable[[], None]:
        """From now on ``listener`` is told of these ``kinds``. The result ends that."""
        for kind in kinds:
            self._listeners[kind] = (*self._listeners.get(kind, ()), listener)
        self._look()

        def leave() -> None:
            for kind in kinds:
                left = tuple(other for other in self._listeners.get(kind, ()) if other is not listener)
                if left:
                    self._listeners[kind] = left
                else:
                    self._listeners.pop(kind, None)
            self._look()

        return leave

    def _look(self) -> None:
        self.attempts_wanted = any(kind in self._listeners for kind in OF_ATTEMPTS)

    def wanted(self, kind: type[Event]) -> bool:
        return kind in self._listeners

    def emit(self, event: Event) -> None:
        for listener in self._listeners.get(type(event), ()):
            listener(event)


EVERY: tuple[type[Event], ...] = (
    Admitted,
    Shed,
    AttemptStarted,
    Committed,
    AttemptEnded,
    RetryRefused,
    BreakerMoved,
    Unanswered,
    StandingChanged,
    WeightsChanged,
    FaultStarted,
    FaultStopped,
    FaultInjected,
    FaultOverflowed,
)
