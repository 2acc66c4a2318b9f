"""All faults that act: begun by hand, ended by hand, by time, by the dead man's switch or by their guard.

Every change is told as an event. Nothing here does anything to an attempt: that is ``Faulty``.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from providers import Request
from providers.base import Injected
from providers.faults import Hold
from router.chaos.guard import Watch
from router.chaos.rule import Rule
from router.config import Chaos as Config
from router.events import Events, FaultInjected, FaultOverflowed, FaultStarted, FaultStopped

MOST_RULES = 64
MOST_STOPPED = 50
# Of the requests that a fault has met; the oldest is forgotten, and draws as if it were new.
MOST_TRIES = 10_000
GUARD_SECONDS = 1.0

EXPIRED, BY_HAND, DEAD_MAN, GUARDED, DRAINING = "expired", "stopped", "dead_man", "slo_guard", "draining"


class FaultRefused(Exception):
    """It would not do what was asked. ``param`` names what is wrong."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class Acting:
    """One rule while it acts. Times are the loop's; ``active`` attempts are under it now."""

    __slots__ = ("_tries", "active", "alive_until", "began", "ends", "hold", "injected", "overflowed", "rule", "watch")

    def __init__(self, rule: Rule, now: float) -> None:
        self.rule = rule
        self.began = now
        self.ends = now + rule.ttl
        self.hold = Hold()
        self.active = self.injected = self.overflowed = 0
        self.watch = None if rule.guard is None else Watch(rule.guard)
        self._tries: OrderedDict[str, int] = OrderedDict()
        self.renew(now)

    def renew(self, now: float) -> None:
        """A sign of life."""
        self.alive_until = self.ends if self.rule.dead_man is None else min(self.ends, now + self.rule.dead_man)

    def end(self) -> None:
        """Everybody whom it holds goes on. What is remembered of it is its numbers, and no request's name."""
        self.hold.release()
        self._tries.clear()

    def tries(self, request_id: str, target: str) -> int:
        """How often it has been asked about this request at this target before; now once more."""
        if len(self._tries) >= MOST_TRIES:
            self._tries.popitem(last=False)
        key = f"{target} {request_id}"
        tries = self._tries[key] = self._tries.pop(key, -1) + 1
        return tries


class Stopped(NamedTuple):
    """One that has acted. ``why`` is a bounded label, ``told`` the guard's own words."""

    acting: Acting
    at: float
    why: str
    told: str | None


class Chosen(NamedTuple):
    acting: Acting
    tries: int


class Chaos:
    """``in_flight``: how many attempts run, at all targets together. ``changed`` is called after every change with all
    that acts.
    """

    def __init__(self, config: Config, events: Events, in_flight: Callable[[], int]) -> None:
        self.config = config
        self.stopped: deque[Stopped] = deque(maxlen=MOST_STOPPED)
        self._events = events
        self._in_flight = in_flight
        self._acting: dict[str, Acting] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._guarding: asyncio.TimerHandle | None = None
        self._retired = False
        self._changed: list[Callable[[Sequence[Acting]], None]] = []

    @property
    def acting(self) -> Mapping[str, Acting]:
        """By id, in the order in which they began: of several that could hit an attempt the first does."""
        return self._acting

    @property
    def guarded(self) -> bool:
        """Whether any guard wants to know how calls end."""
        return self._guarding is not None

    def listen(self, changed: Callable[[Sequence[Acting]], None]) -> None:
        self._changed.append(changed)

    def add(self, rule: Rule) -> Acting:
        """From now on. In the event loop. Raises ``FaultRefused`` if it could not act."""
        self._check(rule)
        loop = asyncio.get_running_loop()
        acting = self._acting[rule.id] = Acting(rule, loop.time())
        self._timers[rule.id] = loop.call_at(acting.alive_until, self._due, rule.id, loop)
        if acting.watch is not None and self._guarding is None:
            self._guarding = loop.call_later(GUARD_SECONDS, self._guard, loop)
        self._tell_changed()
        self._events.emit(FaultStarted(acting.began, rule.id, rule.kind, rule.targets, acting.ends, rule.reason))
        return acting

    def renew(self, fault: str) -> bool:
        """Whoever began it is still there. False if it does not act any more."""
        acting = self._acting.get(fault)
        if acting is not None:
            acting.renew(asyncio.get_running_loop().time())
        return acting is not None

    def stop(self, fault: str, why: str = BY_HAND, told: str | None = None) -> bool:
        """Now, also for those that it holds. False if it does not act."""
        acting = self._acting.pop(fault, None)
        if acting is None:
            return False
        self._timers.pop(fault).cancel()
        self._tell_changed()
        acting.end()
        now = asyncio.get_running_loop().time()
        self.stopped.append(Stopped(acting, now, why, told))
        rule = acting.rule
        self._events.emit(FaultStopped(now, fault, rule.kind, rule.targets, why, told, acting.injected))
        return True

    def stop_all(self) -> list[str]:
        """The ids of those that acted."""
        return [fault for fault in tuple(self._acting) if self.stop(fault)]

    def retire(self) -> None:
        """The gateway is about to stop: whoever is held goes on, and nothing begins any more."""
        self._retired = True
        for fault in tuple(self._acting):
            self.stop(fault, DRAINING)

    def chosen(self, acting: Sequence[Acting], request: Request, target: str) -> Chosen | None:
        """The first that hits this attempt and may, counted as active from now on; None if none does."""
        for each in acting:
            rule = each.rule
            if not rule.concerns(request, target):
                continue
            tries = each.tries(request.id, target)
            if not rule.draws(request, target, tries):
                continue
            now = asyncio.get_running_loop().time()
            if self._is_full(each):
                each.overflowed += 1
                self._events.emit(FaultOverflowed(now, request.id, target, rule.id, rule.kind))
                continue
            each.active += 1
            each.injected += 1
            if request.faults is not None:
                request.faults.append(Injected(rule.id, rule.kind, target))
            self._events.emit(FaultInjected(now, request.id, target, rule.id, rule.kind))
            return Chosen(each, tries)
        return None

    def saw(self, *, ok: bool, faults: Sequence[Injected]) -> None:
        """A call is over: the guards count it."""
        for acting in self._acting.values():
            if acting.watch is not None:
                hit = any(injected.fault == acting.rule.id for injected in faults)
                acting.watch.saw(ok=ok, hit=hit, now=asyncio.get_running_loop().time())

    def close(self) -> None:
        """Nothing acts any more, and nobody is told."""
        for timer in self._timers.values():
            timer.cancel()
        if self._guarding is not None:
            self._guarding.cancel()
        for acting in self._acting.values():
            acting.end()
        self._acting.clear()
        self._tell_changed()

    def _check(self, rule: Rule) -> None:
        if self._retired:
            raise FaultRefused("this gateway is shutting down", "kind")
        if not self.config.enabled:
            raise FaultRefused("chaos is off in this gateway's configuration (`chaos.enabled: false`)", "kind")
        if rule.ttl > self.config.max_ttl:
            raise FaultRefused(f"must be at most {self.config.max_ttl:g} s (`chaos.max_ttl`)", "ttl")
        if rule.id in self._acting:
            raise FaultRefused(f"a fault {rule.id!r} acts already; stop it first, or choose another id", "id")
        if len(self._acting) >= MOST_RULES:
            raise FaultRefused(f"{MOST_RULES} faults act already, and no more may; stop one", "id")
        for acting in self._acting.values():
            if acting.rule.covers(rule):
                other = f"{acting.rule.id!r} ({acting.rule.kind}, share 1)"
                raise FaultRefused(f"could never act: {other} hits every attempt at these targets before it", "target")

    def _is_full(self, acting: Acting) -> bool:
        most = acting.rule.max_active
        if most is not None and acting.active >= most:
            return True
        cap = self.config.max_active
        active = sum(each.active for each in self._acting.values())
        # At least one may always act: else a lone request could never be hit.
        return active >= max(1, int(cap * self._in_flight() if cap <= 1 else cap))

    def _due(self, fault: str, loop: asyncio.AbstractEventLoop) -> None:
        acting, now = self._acting[fault], loop.time()
        if acting.alive_until > now:
            self._timers[fault] = loop.call_at(acting.alive_until, self._due, fault, loop)
        else:
            self.stop(fault, EXPIRED if acting.alive_until >= acting.ends else DEAD_MAN)

    def _guard(self, loop: asyncio.AbstractEventLoop) -> None:
        self._guarding = None
        for fault, acting in tuple(self._acting.items()):
            if acting.watch is not None and (told := acting.watch.verdict(loop.time())) is not None:
                self.stop(fault, GUARDED, told)
        if any(acting.watch is not None for acting in self._acting.values()):
            self._guarding = loop.call_later(GUARD_SECONDS, self._guard, loop)

    def _tell_changed(self) -> None:
        acting = tuple(self._acting.values())
        for changed in self._changed:
            changed(acting)
