"""What travels: Target, Route, Call, Attempt. Frozen, all of it; only ``Target.live`` counts.

What is made for every request is a NamedTuple: a frozen dataclass takes three times as long to make.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from providers import Provider, Request
from router.config import Retry, Timeouts


@dataclass(slots=True)
class Live:
    """The live numbers of a target. ``failures`` counts in a row, and an ok sets it back."""

    in_flight: int = 0
    failures: int = 0
    last_failure: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A provider and a model: what a weight, a limit and, later, a breaker belong to.

    ``model`` None passes on the name that the client asked for. Targets are compared by identity.
    """

    provider: Provider
    model: str | None
    weight: float = 1.0
    tier: int = 0
    timeouts: Timeouts = field(default_factory=Timeouts)
    live: Live = field(default_factory=Live)

    @property
    def id(self) -> str:
        return f"{self.provider.name}/{self.model or '*'}"

    def name_for(self, model: str) -> str:
        """provider/model for a call that asked for ``model``."""
        return f"{self.provider.name}/{self.model or model}"


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A public model name and the targets that can serve it. ``total`` seconds bound all attempts together."""

    model: str
    targets: tuple[Target, ...]
    total: float = 600.0
    retry: Retry = field(default_factory=Retry)


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
    """One client request on its way. ``timeout``: the client's own limit in seconds, if it gave one."""

    request: Request
    model: str
    pin: Pin | None = None
    timeout: float | None = None


class Attempt(NamedTuple):
    """One call to one target. ``number`` counts from 1; ``starts`` and ``deadline`` are on the loop's clock."""

    call: Call
    route: Route
    target: Target
    number: int
    starts: float
    deadline: float


class Tried(NamedTuple):
    """How an attempt ended: ``label`` is what ``x-attempts`` shows; ``seconds`` to the commit or to the failure."""

    target: Target
    name: str
    label: str
    seconds: float
