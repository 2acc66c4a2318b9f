"""Cheap questions to upstreams: before traffic returns to one that was ejected, and to one that has had none for long.

Passive first: traffic is the judge. A probe that succeeds closes no breaker; one that fails keeps traffic away, so that no
client has to find out.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from providers import ProviderError
from providers.base import Probed
from router.config import Probing
from router.events import BreakerMoved, Events
from router.policies.breaker import Breaker
from router.time_limit import TimeLimit
from router.types import Live

IDLE_FAILURES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """What there is to ask about one target."""

    target: str
    provider: Probed
    breaker: Breaker
    live: Live
    config: Probing


class Prober:
    """Asks once before an open breaker lets traffic through again, and, where ``config.idle`` says so, whoever idles."""

    def __init__(self, probes: list[Probe], events: Events) -> None:
        self._probes = {probe.target: probe for probe in probes if probe.config.enabled}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._failed: dict[str, int] = {}
        self._events = events
        self._leave = events.listen(self._moved, BreakerMoved)

    def start(self) -> None:
        """In the event loop: from now on, who idles is asked too."""
        for probe in self._probes.values():
            if probe.config.idle is not None:
                self._at(probe.target, asyncio.get_running_loop().time() + probe.config.idle)

    async def aclose(self) -> None:
        self._leave()
        for timer in self._timers.values():
            timer.cancel()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def next_probe(self, target: str) -> float | None:
        """When ``target`` is asked next, on the loop's clock; None if nobody means to."""
        timer = self._timers.get(target)
        return None if timer is None else timer.when()

    def _moved(self, event: BreakerMoved) -> None:
        probe = self._probes.get(event.target)
        if probe is not None and event.after == "open":
            # Half of a short opening is left before it is asked.
            lead = min(probe.config.timeout, (event.open_until - event.at) / 2)
            self._at(event.target, event.open_until - lead)

    def _at(self, target: str, when: float) -> None:
        if (earlier := self._timers.pop(target, None)) is not None:
            earlier.cancel()
        self._timers[target] = asyncio.get_running_loop().call_at(when, self._due, target)

    def _due(self, target: str) -> None:
        del self._timers[target]
        task = asyncio.get_running_loop().create_task(self._ask(self._probes[target]))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _ask(self, probe: Probe) -> None:
        loop = asyncio.get_running_loop()
        idle = probe.config.idle
        is_open = probe.breaker.state_at(loop.time()) == "open"
        rests = idle is not None and loop.time() - probe.live.used >= idle
        if is_open or rests:
            failure = await self._failure(probe)
            failures = self._failed[probe.target] = 0 if failure is None else self._failed.get(probe.target, 0) + 1
            # An open one stays so for longer, and is asked again before the new end.
            if failures and (is_open or failures >= IDLE_FAILURES):
                probe.breaker.trip(loop.time(), f"probe: {failure}")
        if idle is not None and probe.target not in self._timers:
            self._at(probe.target, loop.time() + idle)

    async def _failure(self, probe: Probe) -> str | None:
        """What went wrong, as a bounded label."""
        loop = asyncio.get_running_loop()
        try:
            with TimeLimit(loop, loop.time() + probe.config.timeout):
                await probe.provider.probe(probe.config.timeout)
        except ProviderError as error:
            return error.label
        except TimeoutError:
            return "timeout"
        return None
