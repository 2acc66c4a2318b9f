"""What travels: Target, Route, Call, Attempt. Frozen, all of it; only ``Target.live`` counts.

What is made for every request is a NamedTuple: a frozen dataclass takes three times as long to make.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from providers import Provider, Request
from router.config import Hedge, Retry, Timeouts
from router.measures.latency import Latency
from router.measures.quantiles import Quantiles

if TYPE_CHECKING:  # they need what is here
    from router.experiments import Experiment
    from router.policy import Guard

Kind = TypeVar("Kind")
Look = Callable[["Call", float], str | None]


class Priority(IntEnum):
    """Who is turned away first when there is too much: the lowest."""

    BATCH = 0
    SHEDDABLE = 1
    DEFAULT = 2
    CRITICAL = 3


@dataclass(slots=True, eq=False)
class Live:
    """What is alive of a provider and model: one, shared by every route that names them. ``failures`` counts in a row,
    and an ok that was asked for after the last of them sets it back; ``tokens`` is what is in flight, input + 2 x output; ``used``: when it was last asked,
    ``failed_at`` when it last failed, ``answered_at`` when somebody last got content;
    ``limit`` is for requests of typical size; ``guards`` have the rest, and ``looks`` are what they say beforehand.
    """

    in_flight: int = 0
    tokens: int = 0
    used: float = -math.inf
    failures: int = 0
    last_failure: str | None = None
    failed_at: float = -math.inf
    answered_at: float = -math.inf
    limit: float = math.inf
    latency: Latency = field(default_factory=Latency)
    guards: tuple[Guard, ...] = ()
    looks: tuple[Look, ...] = ()

    def guarded_by(self, *guards: Guard, counters: Sequence[Guard]) -> None:
        """In the order in which they are asked. ``counters`` come last and never refuse."""
        self.guards = (*guards, *counters)
        self.looks = tuple(guard.refusal for guard in guards)

    def refusal(self, call: Call, now: float) -> str | None:
        """The first guard's reason to refuse ``call``; None if none has one."""
        for look in self.looks:
            reason = look(call, now)
            if reason is not None:
                return reason
        return None

    def until(self, now: float) -> float | None:
        """When it may be able again, on the loop's clock, if it cannot take anything now and knows."""
        ends = [end for guard in self.guards if (end := guard.until(now)) is not None]
        return max(ends, default=None)

    def guard(self, kind: type[Kind]) -> Kind | None:
        """The guard of this class, if there is one."""
        return next((guard for guard in self.guards if isinstance(guard, kind)), None)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A provider and a model: what a weight, a limit and a breaker belong to.

    ``model`` None passes on the name that the client asked for. ``price`` is for a million tokens, output counted twice.
    Targets are compared by identity; two of one id share their ``live``.
    """

    provider: Provider
    model: str | None
    weight: float = 1.0
    tier: int = 0
    price: float | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    live: Live = field(default_factory=Live)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", self.name_for("*"))

    def name_for(self, model: str) -> str:
        """provider/model for a call that asked for ``model``."""
        return f"{self.provider.name}/{self.model or model}"


@dataclass(frozen=True, slots=True, eq=False)
class Mirror:
    """``share`` of the calls, 0 to 1, are sent to ``target`` too."""

    target: Target
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A public model name and the targets that can serve it. ``total`` seconds bound all attempts together;
    ``outputs`` are the lengths of its latest answers in tokens; ``picked`` are the targets that no pin is needed for.
    """

    model: str
    targets: tuple[Target, ...]
    total: float = 600.0
    retry: Retry = field(default_factory=Retry)
    strategy: str = "weighted"
    hedge: Hedge | None = None
    mirror: Mirror | None = None
    experiments: tuple[Experiment, ...] = ()
    outputs: Quantiles = field(default_factory=Quantiles)
    picked: tuple[Target, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "picked", tuple(target for target in self.targets if target.weight > 0))


@dataclass(frozen=True, slots=True)
class Pin:
    """Providers in the order to try them; ``others`` allows the rest after them. ``sticky``: not the client's wish, but
    what it continues lives there.
    """

    providers: tuple[str, ...]
    others: bool = False
    sticky: bool = False

    @staticmethod
    def parse(value: str) -> Pin:
        """``a, b`` or ``a, *``. Raises ValueError if there is no name, a name twice or a ``*`` before the end."""
        names = [name for part in value.split(",") if (name := part.strip())]
        others = bool(names) and names[-1] == "*"
        if others:
            names.pop()
        if "*" in names:
            raise ValueError("* may only stand at the end")
        if not names:
            raise ValueError("it names no provider")
        if len(set(names)) < len(names):
            raise ValueError("it names a provider twice")
        return Pin(tuple(names), others)


class Call(NamedTuple):
    """One client request on its way. ``timeout``: the client's own limit in seconds, if it gave one; ``retries``: how often
    the client says that it has tried this before.
    """

    request: Request
    model: str
    pin: Pin | None = None
    timeout: float | None = None
    priority: Priority = Priority.DEFAULT
    retries: int = 0


class Attempt(NamedTuple):
    """One call to one target. ``number`` counts from 1; ``starts`` and ``deadline`` are on the loop's clock. ``tokens``:
    what it is expected to hold, input + 2 x output; ``prompt``: the input alone. ``after``: the target whose failure, or silence, it follows;
    ``hedge``: that one still runs. ``forced``: every target is ejected, so ejections do not count.
    """

    call: Call
    route: Route
    target: Target
    number: int
    starts: float
    deadline: float
    tokens: int = 0
    prompt: int = 0
    after: Target | None = None
    hedge: bool = False
    forced: bool = False


class Tried(NamedTuple):
    """How an attempt ended: ``label`` is what ``x-attempts`` shows; ``seconds`` to the commit or to the failure."""

    target: Target
    name: str
    label: str
    seconds: float
