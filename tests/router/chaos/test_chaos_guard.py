"""The guard of a fault: it ends it by itself when calls go badly, or when those that it did not hit do."""

from __future__ import annotations

import pytest
from worlds import on_virtual_clock

from providers.base import Injected
from router.chaos import Guard
from tests.router.chaos.chaotic import Site, rule, timers, until

HIT = [Injected("f", "http_5xx", "a/m")]
OTHERS = [Injected("another", "http_5xx", "a/m")]


def guarded(guard: Guard) -> Site:
    site = Site()
    site.chaos.add(rule(ttl=600, guard=guard))
    return site


def saw(site: Site, ok: int, bad: int, faults: list[Injected] = HIT) -> None:
    for is_ok, count in ((True, ok), (False, bad)):
        for _ in range(count):
            site.chaos.saw(ok=is_ok, faults=faults)


@pytest.mark.parametrize(("bad", "ends"), [(1, False), (2, False), (3, True)])
@on_virtual_clock
async def test_below_the_availability_it_ends_within_a_second(bad: int, ends: bool) -> None:
    site = guarded(Guard(availability=0.9))
    await until(10)
    saw(site, 20 - bad, bad)
    await until(11)
    assert (not site.chaos.acting) is ends
    if ends:
        (stopped,) = site.chaos.stopped
        assert (stopped.why, stopped.told) == ("slo_guard", "availability 85.0% of 20 calls, below 90.0%")
        assert timers() == 0


@on_virtual_clock
async def test_a_few_calls_say_nothing() -> None:
    site = guarded(Guard(availability=0.9, min_calls=20))
    saw(site, 0, 19)
    await until(5)
    assert site.chaos.acting
    saw(site, 0, 1)
    await until(6)
    assert site.why("f") == "slo_guard"


@on_virtual_clock
async def test_what_is_older_than_the_window_is_forgotten() -> None:
    site = guarded(Guard(availability=0.9, window=10, min_calls=20))
    saw(site, 0, 19)
    await until(30)
    saw(site, 19, 1)
    await until(32)
    assert site.chaos.acting


@on_virtual_clock
async def test_the_control_arm_are_those_that_it_did_not_hit() -> None:
    site = guarded(Guard(control=0.99))
    saw(site, 0, 50)
    saw(site, 50, 0, [])
    saw(site, 50, 0, OTHERS)
    await until(5)
    (acting,) = site.chaos.acting.values()
    assert acting.watch is not None
    assert acting.watch.arms(5) == {"ok": 100, "failed": 50, "control_ok": 100, "control_failed": 0}
    saw(site, 0, 2, OTHERS)
    await until(7)
    (stopped,) = site.chaos.stopped
    assert stopped.told == "the control arm: 98.0% of 102 calls, below 99.0%"


@on_virtual_clock
async def test_only_the_fault_whose_guard_says_so_ends() -> None:
    site = Site()
    site.chaos.add(rule("careful", share=0.5, guard=Guard(availability=0.9)))
    site.chaos.add(rule("careless", share=0.5, guard=Guard(availability=0.1)))
    site.chaos.add(rule("unguarded", share=0.5))
    saw(site, 10, 10)
    await until(3)
    assert list(site.chaos.acting) == ["careless", "unguarded"]
    assert site.chaos.guarded
    site.chaos.stop("careless")
    await until(5)
    assert not site.chaos.guarded


@on_virtual_clock
async def test_without_a_guard_nobody_counts() -> None:
    site = Site()
    site.chaos.add(rule())
    assert not site.chaos.guarded
    saw(site, 0, 1000)
    await until(10)
    assert site.chaos.acting
