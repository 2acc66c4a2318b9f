"""Cheap questions to upstreams: before traffic returns to one that was ejected, to one that has had none for long, and to one
whose callers leave without an answer.

Passive first: traffic is the judge. A probe that succeeds closes no breaker; one that fails keeps traffic away, so that no
client has to find out, and says nothing where traffic has spoken meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from providers import ProviderError
from providers.base import Probed
from providers.errors import Disconnected, TimedOut, Unreachable
from router.config import Probing
from router.events import BreakerMoved, Events, Unanswered
from router.policies.breaker import OPEN, Breaker
from router.time_limit import TimeLimit
from router.types import Live

IDLE_FAILURES = 3  # in a row: nobody waits for an idle target, so one lost packet need not eject it
SILENT_FAILURES = (
    2  # in a row, so many seconds apart, while it answers nobody else: a busy server may be slow to answer one
)
SILENT_PAUSE_SECONDS = 2.0
_SILENT = (Unreachable, Disconnected, TimedOut)  # whoever answers, if only with an error, is there


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """What there is to ask about one target."""

    target: str
    provider: Probed
    breaker: Breaker
    live: Live
    config: Probing

    def idle_since(self, now: float) -> float | None:
        """When it was last asked for something, if that is ``config.idle`` ago and nothing runs."""
        idle = self.config.idle
        rests = idle is not None and not self.live.in_flight and now - self.live.used >= idle
        return self.live.used if rests else None


class Prober:
    """Asks once before an open breaker lets traffic through again, once when a target is found to answer nobody, and, where
    ``config.idle`` says so, whoever idles. Never twice at once the same target.
    """

    def __init__(self, probes: list[Probe], events: Events) -> None:
        self._probes = {probe.target: probe for probe in probes if probe.config.enabled}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, int] = {}
        self._closed = False
        self._leave = (events.listen(self._moved, BreakerMoved), events.listen(self._unanswered, Unanswered))

    def start(self) -> None:
        """In the event loop: from now on, who idles is asked too."""
        now = asyncio.get_running_loop().time()
        for probe in self._probes.values():
            self._rest(probe, now)

    async def aclose(self) -> None:
        self._closed = True  # a question that has just been answered means to come back
        for leave in self._leave:
            leave()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        asking = tuple(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def next_probe(self, target: str) -> float | None:
        """When ``target`` is asked next, on the loop's clock; None if nobody means to."""
        timer = self._timers.get(target)
        return None if timer is None else timer.when()

    def _moved(self, event: BreakerMoved) -> None:
        probe = self._probes.get(event.target)
        if probe is None:
            return
        if event.after != OPEN:
            self._rest(probe, event.at)
            return
        # Half of a short opening is left before it is asked.
        lead = min(probe.config.timeout, (event.open_until - event.at) / 2)
        self._at(event.target, event.open_until - lead)

    def _unanswered(self, event: Unanswered) -> None:
        """A caller's leaving counts for nobody's health. But does the target answer us?"""
        probe = self._probes.get(event.target)
        if probe is not None:
            self._start(event.target, partial(self._ask_of_silence, probe, event.at - event.seconds))

    def _rest(self, probe: Probe, now: float) -> None:
        """The next time that it may have idled for long enough, if anybody wants to know that."""
        if (timer := self._timers.pop(probe.target, None)) is not None:
            timer.cancel()
        idle = probe.config.idle
        if idle is not None:
            due = probe.live.used + idle
            self._at(probe.target, due if due > now else now + idle)

    def _at(self, target: str, when: float) -> None:
        if (earlier := self._timers.pop(target, None)) is not None:
            earlier.cancel()
        if self._closed:
            return
        self._timers[target] = asyncio.get_running_loop().call_at(when, self._due, target)

    def _due(self, target: str) -> None:
        del self._timers[target]
        self._start(target, partial(self._ask, self._probes[target]))

    def _start(self, target: str, ask: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if target in self._asking:  # what that finds out is as new
            return
        task = self._asking[target] = asyncio.get_running_loop().create_task(ask())
        task.add_done_callback(partial(self._asked, target))

    def _asked(self, target: str, task: asyncio.Task[None]) -> None:
        del self._asking[target]
        if task.cancelled():
            return
        if target not in self._timers:
            self._rest(self._probes[target], asyncio.get_running_loop().time())
        task.result()  # a bug of ours is raised here, and so told by the loop: nobody waits for the task

    async def _ask(self, probe: Probe) -> None:
        now = asyncio.get_running_loop().time()
        is_open = probe.breaker.state_at(now) == OPEN
        idle_since = probe.idle_since(now)
        if not is_open and idle_since is None:
            self._failed[probe.target] = 0
            return
        failure = await self._failure(probe)
        failed = self._failed[probe.target] = 0 if failure is None else self._failed.get(probe.target, 0) + 1
        if failure is None:
            return
        # Still so: nobody has let traffic through, or sent any, while it was asked.
        still_open = is_open and probe.breaker.state == OPEN
        still_idle = idle_since is not None and probe.live.used == idle_since
        if still_open or (still_idle and failed >= IDLE_FAILURES):
            self._trip(probe, failure)

    async def _ask_of_silence(self, probe: Probe, since: float) -> None:
        """Nobody has been answered ``since``. Whoever answers us, or a caller meanwhile, is there; an open breaker has its own probe."""
        for failed in range(1, SILENT_FAILURES + 1):
            failure = None if probe.breaker.state == OPEN else await self._failure(probe)
            if not isinstance(failure, _SILENT) or probe.live.answered_at > since or probe.breaker.state == OPEN:
                return
            if failed == SILENT_FAILURES:
                self._trip(probe, failure)
            else:
                await asyncio.sleep(SILENT_PAUSE_SECONDS)

    @staticmethod
    def _trip(probe: Probe, failure: ProviderError) -> None:
        what = "timeout" if isinstance(failure, TimedOut) else failure.label
        grows = probe.breaker.state != OPEN
        probe.breaker.trip(asyncio.get_running_loop().time(), f"probe: {what}", grows=grows)

    @staticmethod
    async def _failure(probe: Probe) -> ProviderError | None:
        """What went wrong."""
        loop = asyncio.get_running_loop()
        try:
            with TimeLimit(loop, loop.time() + probe.config.timeout):
                await probe.provider.probe(probe.config.timeout)
        except ProviderError as error:
            return error
        except TimeoutError:
            return TimedOut("attempt", probe.config.timeout)
        return None
