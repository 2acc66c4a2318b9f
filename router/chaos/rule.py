"""What was asked for: a fault, whom it may hit, and what ends it. Frozen."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from providers import Request
from providers.faults import Fault, Per
from router.select.chance import unit


@dataclass(frozen=True, slots=True)
class Guard:
    """Ends a fault by itself. ``availability``: of all calls in the last ``window`` seconds, or of those that the fault did not
    hit (``control``), from ``min_calls`` on. None: not asked about.
    """

    availability: float | None = None
    control: float | None = None
    window: float = 30.0
    min_calls: int = 20


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """``kind`` is a key of ``providers.faults.FAULTS`` and ``fault`` one of that. ``targets`` are provider/model.

    ``share`` of the attempts at them, 0 to 1, by hash of ``seed``; ``ttl`` and ``dead_man`` in seconds: without a sign of life
    for ``dead_man`` it ends. ``max_active``: that many at once; ``route``: only calls for that model; ``request_id``: only
    that call. ``streams``: plain answers are left alone.
    """

    id: str
    kind: str
    fault: Fault
    targets: tuple[str, ...]
    ttl: float
    share: float = 1.0
    seed: int = 0
    per: Per = "attempt"
    route: str | None = None
    request_id: str | None = None
    max_active: int | None = None
    dead_man: float | None = None
    guard: Guard | None = None
    streams: bool = False
    reason: str = ""

    def concerns(self, request: Request, target: str) -> bool:
        """Whether an attempt for ``request`` at ``target`` is among those of which a share is hit."""
        if target not in self.targets or (self.streams and not request.stream):
            return False
        if self.request_id is not None and self.request_id != request.id:
            return False
        return self.route is None or self.route == request.fields.get("model")

    def draws(self, request: Request, target: str, tries: int) -> bool:
        """Whether chance picks it, at its attempt number ``tries`` at ``target``: the same in every run."""
        if self.share >= 1:
            return True
        if self.per == "session":
            drawn = request.session or request.id
        else:
            drawn = f"{request.id}/{target}/{tries}" if self.per == "attempt" else request.id
        return unit(self.seed, drawn, f"fault {self.id}") < self.share

    def hits_all(self, targets: Collection[str]) -> bool:
        """No call gets past it at any of them."""
        return (
            self.share >= 1
            and self.max_active is None
            and self.route is None
            and self.request_id is None
            and not self.streams
            and set(targets) <= set(self.targets)
        )

    def covers(self, other: Rule) -> bool:
        """Nothing would be left of what ``other`` could hit."""
        return (
            self.share >= 1
            and self.max_active is None
            and set(other.targets) <= set(self.targets)
            and self.route in (None, other.route)
            and self.request_id in (None, other.request_id)
            and (other.streams or not self.streams)
        )
