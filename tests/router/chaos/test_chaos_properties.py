"""Whatever happens in whatever order: what is active is never negative and comes to an end, and so does every timer."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import now, on_virtual_clock

from router.chaos import FaultRefused, Guard
from router.events import FaultInjected, FaultStarted, FaultStopped
from tests.router.chaos.chaotic import Locked, Site, holding, rule, settle, started, timers

IDS = ["f1", "f2", "f3"]
TARGETS = ["a/m", "b/m"]
SECONDS = st.sampled_from([0.5, 1.0, 3.0, 7.5])
FAULTS = st.sampled_from([None, holding(2), holding(50), Locked()])
RULES = st.fixed_dictionaries(
    {
        "ttl": st.sampled_from([1.0, 5.0, 20.0]),
        "share": st.sampled_from([0.3, 0.99]),
        "dead_man": st.sampled_from([None, 2.0]),
        "max_active": st.sampled_from([None, 1, 2]),
        "per": st.sampled_from(["attempt", "request", "session"]),
        "guard": st.sampled_from([None, Guard(availability=0.9, min_calls=3)]),
    }
)
STEPS = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(IDS), st.sampled_from([["a/m"], ["b/m"], TARGETS]), FAULTS, RULES),
    st.tuples(st.just("stop"), st.sampled_from(IDS)),
    st.tuples(st.just("stop all")),
    st.tuples(st.just("renew"), st.sampled_from(IDS)),
    st.tuples(st.just("call"), st.sampled_from(TARGETS)),
    st.tuples(st.just("call"), st.sampled_from(TARGETS)),
    st.tuples(st.just("leave")),
    st.tuples(st.just("see"), st.booleans()),
    st.tuples(st.just("wait"), SECONDS),
)


class Course:
    """One run of steps."""

    def __init__(self) -> None:
        self.site = Site(max_active=3)
        self.calls: list[asyncio.Task[Any]] = []
        self.number = 0

    async def step(self, step: tuple[Any, ...]) -> None:
        site, chaos = self.site, self.site.chaos
        match step:
            case ("add", fault_id, targets, fault, more):
                with suppress(FaultRefused):  # its id is taken
                    chaos.add(rule(fault_id, *targets, fault=fault, **more))
            case ("stop", fault_id):
                acted = fault_id in chaos.acting
                assert chaos.stop(fault_id) is acted
            case ("stop all",):
                chaos.stop_all()
            case ("renew", fault_id):
                assert chaos.renew(fault_id) == (fault_id in chaos.acting)
            case ("call", target):
                self.number += 1
                self.calls.append(started(site.call(f"r{self.number}", target)))
            case ("leave",) if self.calls:
                self.calls.pop().cancel()
            case ("see", ok):
                chaos.saw(ok=ok, faults=[])
            case ("wait", seconds):
                await asyncio.sleep(seconds)
        await settle()
        self.check()

    def check(self) -> None:
        site = self.site
        faults = [*site.chaos.acting.values(), *(stopped.acting for stopped in site.chaos.stopped)]
        assert all(each.active >= 0 for each in faults)
        assert all(each.rule.max_active is None or each.active <= each.rule.max_active for each in faults)
        assert site.active <= 3
        assert all(now() <= each.alive_until <= each.ends for each in site.chaos.acting.values())
        assert all(stopped.acting.hold.over for stopped in site.chaos.stopped)


@given(st.lists(STEPS, max_size=40))
@examples(200)
def test_whatever_happens_it_comes_to_an_end(steps: list[tuple[Any, ...]]) -> None:
    @on_virtual_clock
    async def scenario() -> None:
        course = Course()
        for step in steps:
            await course.step(step)
        site = course.site
        # Long enough for all that ends by itself.
        await asyncio.sleep(100)
        await asyncio.gather(*course.calls, return_exceptions=True)
        assert site.active == 0
        assert not site.chaos.acting
        assert timers() == 0
        _told_in_order(site)

    scenario()


def _told_in_order(site: Site) -> None:
    """Nothing acts before its beginning or after its end, and each that began has ended once."""
    acting: set[str] = set()
    for event in site.told:
        match event:
            case FaultStarted(fault=fault):
                assert fault not in acting
                acting.add(fault)
            case FaultStopped(fault=fault):
                acting.remove(fault)
            case FaultInjected(fault=fault):
                assert fault in acting
    assert not acting
    began, ended, injected = (
        sum(isinstance(event, kind) for event in site.told) for kind in (FaultStarted, FaultStopped, FaultInjected)
    )
    assert began == ended
    assert injected == sum(event.injected for event in site.told if isinstance(event, FaultStopped))
