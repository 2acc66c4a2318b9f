"""What ends a fault: time, the dead man's switch, an operator; and that whoever it holds goes on at once."""

from __future__ import annotations

import pytest
from worlds import now, on_virtual_clock

from router.chaos import FaultRefused, Guard
from router.events import FaultInjected, FaultStarted, FaultStopped
from tests.router.chaos.chaotic import Locked, Site, holding, rule, started, timers, until


@on_virtual_clock
async def test_it_acts_until_its_time_is_over() -> None:
    site = Site()
    site.chaos.add(rule(ttl=10))
    await until(9.999)
    assert await site.call("r1")
    await until(10)
    assert not await site.call("r2")
    assert site.why("f") == "expired"
    assert timers() == 0


@on_virtual_clock
async def test_without_a_sign_of_life_it_ends_earlier() -> None:
    site = Site()
    site.chaos.add(rule(ttl=100, dead_man=5))
    for second in (0.5, 5, 9.9):
        await until(second)
        assert site.chaos.renew("f")
    await until(14.8)
    assert await site.call("r1")
    await until(14.9)
    assert not site.chaos.acting
    assert site.why("f") == "dead_man"
    assert not site.chaos.renew("f")


@on_virtual_clock
async def test_signs_of_life_do_not_make_it_longer_than_its_time() -> None:
    site = Site()
    site.chaos.add(rule(ttl=12, dead_man=5))
    for second in range(12):
        await until(second)
        assert site.chaos.renew("f")
    await until(11.999)
    assert site.chaos.acting
    await until(12)
    assert site.why("f") == "expired"


@on_virtual_clock
async def test_an_operator_ends_one_and_the_others_go_on() -> None:
    site = Site()
    site.chaos.add(rule("one"))
    site.chaos.add(rule("other", "b/m"))
    assert site.chaos.stop("one")
    assert not site.chaos.stop("one")
    assert not await site.call("r1")
    assert await site.call("r2", "b/m")
    assert (site.why("one"), list(site.chaos.acting)) == ("stopped", ["other"])


@on_virtual_clock
async def test_all_end_at_once_and_let_go_of_those_whom_they_hold() -> None:
    site = Site()
    site.chaos.add(rule("slow", fault=holding()))
    site.chaos.add(rule("locked", "b/m", fault=Locked()))
    tasks = [started(site.call(f"r{number}", target)) for number, target in enumerate(["a/m"] * 3 + ["b/m"] * 3)]
    await until(7)
    assert site.active == 6
    assert not any(task.done() for task in tasks)
    assert site.chaos.stop_all() == ["slow", "locked"]
    assert [await task for task in tasks] == [True] * 6
    assert now() == 7
    assert [len(upstream.calls) for upstream in site.upstreams.values()] == [3, 3]
    assert site.active == 0
    assert timers() == 0


@on_virtual_clock
async def test_a_gateway_that_drains_lets_go_and_breaks_nothing_more() -> None:
    site = Site()
    site.chaos.add(rule(fault=holding()))
    held = started(site.call("r1"))
    await until(1)
    site.chaos.retire()
    assert await held
    assert now() == 1
    assert site.why("f") == "draining"
    with pytest.raises(FaultRefused, match="shutting down"):
        site.chaos.add(rule())
    assert timers() == 0


@on_virtual_clock
async def test_its_end_by_time_lets_go_too() -> None:
    site = Site()
    site.chaos.add(rule(ttl=3, fault=Locked()))
    assert await site.call("r1")
    assert now() == 3


@on_virtual_clock
async def test_closed_nothing_acts_and_nobody_waits() -> None:
    site = Site()
    site.chaos.add(rule("slow", fault=holding(), dead_man=5, guard=Guard(availability=0.9)))
    held = started(site.call("r1"))
    await until(1)
    site.chaos.close()
    assert await held
    assert not await site.call("r2")
    assert (now(), site.active, timers()) == (1, 0, 0)
    assert site.kinds_told() == ["FaultStarted", "FaultInjected"]


@on_virtual_clock
async def test_every_change_is_told_in_order() -> None:
    site = Site()
    site.chaos.add(rule("f", "a/m", "b/m", ttl=10, reason="a drill"))
    await site.call("r1")
    await until(4)
    await site.call("r2", "b/m")
    site.chaos.stop("f", "slo_guard", "availability 10.0% of 20 calls, below 90.0%")
    targets = ("a/m", "b/m")
    assert site.told == [
        FaultStarted(0, "f", "http_5xx", targets, 10, "a drill"),
        FaultInjected(0, "r1", "a/m", "f", "http_5xx"),
        FaultInjected(4, "r2", "b/m", "f", "http_5xx"),
        FaultStopped(4, "f", "http_5xx", targets, "slo_guard", "availability 10.0% of 20 calls, below 90.0%", 2),
    ]


@on_virtual_clock
async def test_an_id_is_free_again_when_its_fault_has_ended() -> None:
    site = Site()
    site.chaos.add(rule("f"))
    with pytest.raises(FaultRefused, match="a fault 'f' acts already") as refused:
        site.chaos.add(rule("f", "b/m"))
    assert refused.value.param == "id"
    site.chaos.stop("f")
    site.chaos.add(rule("f", "b/m"))
    await until(60)
    assert [stopped.why for stopped in site.chaos.stopped] == ["stopped", "expired"]


@on_virtual_clock
async def test_what_has_ended_remembers_no_requests() -> None:
    """Fifty of them are kept for whoever asks why: not with ten thousand names each."""
    site = Site()
    acting = site.chaos.add(rule(share=0.5))
    await site.hit([f"r{number}" for number in range(100)])
    assert len(acting._tries) == 100
    site.chaos.stop("f")
    assert not acting._tries
    assert 0 < acting.injected < 100
