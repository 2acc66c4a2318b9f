"""Whom a fault hits: by hash, the same in every run; a share; only those it is meant for; never more at once than may be."""

from __future__ import annotations

import math
from random import Random

import pytest
from worlds import fails, on_virtual_clock, request

from providers import ProviderError
from providers.errors import ServerFault
from tests.router.chaos.chaotic import Site, holding, rule, settle, started

IDS = [f"request-{number}" for number in range(2000)]


async def hit(share: float, ids: list[str] = IDS, **more: object) -> set[str]:
    site = Site()
    site.chaos.add(rule(share=share, **more))
    return await site.hit(ids)


@on_virtual_clock
async def test_a_replay_hits_the_same_requests_in_any_order() -> None:
    first = await hit(0.3)
    assert first == await hit(0.3)
    shuffled = list(IDS)
    Random(1).shuffle(shuffled)
    assert first == await hit(0.3, shuffled)
    assert first != await hit(0.3, seed=1)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9])
@on_virtual_clock
async def test_a_share_is_a_share(share: float) -> None:
    expected, deviation = len(IDS) * share, math.sqrt(len(IDS) * share * (1 - share))
    assert abs(len(await hit(share)) - expected) < 4 * deviation


@on_virtual_clock
async def test_none_and_all() -> None:
    assert await hit(0.0) == set()
    assert await hit(1.0) == set(IDS)


@on_virtual_clock
async def test_a_larger_share_only_adds_requests() -> None:
    earlier: set[str] = set()
    for share in (0.05, 0.1, 0.4, 0.8):
        now_hit = await hit(share)
        assert earlier < now_hit
        earlier = now_hit


@on_virtual_clock
async def test_each_attempt_is_drawn_anew() -> None:
    site = Site()
    site.chaos.add(rule("f", "a/m", "b/m", share=0.5))
    a, b, again = await site.hit(IDS), await site.hit(IDS, "b/m"), await site.hit(IDS)
    for one, other in ((a, b), (a, again), (b, again)):
        assert 0.4 * len(one) < len(one & other) < 0.6 * len(one)


@on_virtual_clock
async def test_per_request_all_its_attempts_are_hit_or_none() -> None:
    site = Site()
    site.chaos.add(rule("f", "a/m", "b/m", share=0.5, per="request"))
    first = await site.hit(IDS)
    assert first == await site.hit(IDS) == await site.hit(IDS, "b/m")


@on_virtual_clock
async def test_per_session_all_its_requests_are_hit_or_none() -> None:
    site = Site()
    site.chaos.add(rule(share=0.5, per="session"))
    sessions = [f"session-{number}" for number in range(200)]
    first = {one for one in sessions if await site.call("r1", session=one)}
    assert first == {one for one in sessions if await site.call("r2", session=one)}
    assert 60 < len(first) < 140
    assert 60 < len(await site.hit(IDS[:200])) < 140  # those without one stand for themselves


@on_virtual_clock
async def test_only_those_it_is_meant_for() -> None:
    site = Site()
    site.chaos.add(rule("route", route="other"))
    site.chaos.add(rule("mine", request_id="r1"))
    site.chaos.add(rule("streams", "b/m", streams=True))
    assert await site.call("r1")
    assert not await site.call("r2")
    assert await site.call("r3", fields={"model": "other"})
    assert await site.call("r4", "b/m")
    assert not await site.call("r5", "b/m", stream=False)
    assert not await site.call("r6", "a/another-model")
    assert [each.injected for each in site.chaos.acting.values()] == [1, 1, 1]


@on_virtual_clock
async def test_of_several_the_first_that_hits_acts() -> None:
    site = Site()
    site.chaos.add(rule("half", share=0.5))
    site.chaos.add(rule("all"))
    assert await site.hit(IDS[:100]) == set(IDS[:100])
    half, everything = site.chaos.acting.values()
    assert half.injected + everything.injected == 100
    assert 30 < half.injected < 70


@on_virtual_clock
async def test_a_target_that_takes_any_model_has_one_name() -> None:
    site = Site()
    site.chaos.add(rule("f", "a/*"))
    assert await site.call("r1", "a/whatever")
    assert not await site.call("r2", "b/whatever")


@on_virtual_clock
async def test_a_target_that_takes_any_model_is_not_the_one_beside_it_that_takes_one() -> None:
    site = Site()
    site.chaos.add(rule("f", "a/*"))
    assert not await site.call("r1", "a/m")


# --- how many at once -------------------------------------------------------------------------------------------


async def crowd(site: Site, size: int) -> int:
    """So many calls at once: how many of them are under a fault."""
    tasks = [started(site.call(f"r{number}")) for number in range(size)]
    await settle()
    active = site.active
    site.chaos.stop_all()
    assert sum([await task for task in tasks]) == active
    assert site.active == 0
    return active


@pytest.mark.parametrize(
    ("config", "in_flight", "own", "active"),
    [
        ({"max_active": 0.5}, 20, None, 10),
        ({"max_active": 0.5}, 7, None, 3),
        ({"max_active": 1}, 12, None, 12),
        ({"max_active": 4}, 1000, None, 4),
        ({"max_active": 1}, 1000, 3, 3),
        ({"max_active": 2}, 1000, 3, 2),
        ({"max_active": 0.01}, 1, None, 1),
    ],
    ids=["share", "rounded down", "all", "number", "own", "the smaller", "one may always act"],
)
@on_virtual_clock
async def test_beyond_max_active_it_is_counted_and_not_applied(
    config: dict[str, float], in_flight: int, own: int | None, active: int
) -> None:
    site = Site(**config)
    site.in_flight = in_flight
    acting = site.chaos.add(rule(fault=holding(), max_active=own))
    assert await crowd(site, 20) == active
    assert (acting.injected, acting.overflowed) == (active, 20 - active)
    told = site.kinds_told()
    assert (told.count("FaultInjected"), told.count("FaultOverflowed")) == (active, 20 - active)


@on_virtual_clock
async def test_all_faults_share_what_may_be_active() -> None:
    site = Site(max_active=3)
    site.chaos.add(rule("half", fault=holding(), share=0.5))
    site.chaos.add(rule("rest", fault=holding()))
    assert await crowd(site, 20) == 3


@on_virtual_clock
async def test_what_one_spares_the_next_may_hit() -> None:
    site = Site()
    first = site.chaos.add(rule("first", fault=holding(), max_active=1))
    second = site.chaos.add(rule("second", fault=holding()))
    assert await crowd(site, 5) == 5
    assert (first.injected, first.overflowed, second.injected) == (1, 4, 4)


@on_virtual_clock
async def test_who_has_left_makes_room() -> None:
    site = Site(max_active=1)
    acting = site.chaos.add(rule(fault=holding(), max_active=1))
    held = started(site.call("r1"))
    await settle()
    assert not await site.call("r2")
    held.cancel()
    await settle()
    assert acting.active == 0
    assert started(site.call("r3"))
    await settle()
    assert (acting.active, acting.overflowed) == (1, 1)
    site.chaos.close()


@on_virtual_clock
async def test_a_stream_counts_until_it_is_closed() -> None:
    site = Site()
    acting = site.chaos.add(rule(fault=holding(1)))
    stream = await site.open(request("r1"))
    assert acting.active == 1
    assert [chunk async for chunk in stream]
    assert acting.active == 1
    await stream.aclose()
    await stream.aclose()
    assert acting.active == 0


@on_virtual_clock
async def test_an_upstream_that_fails_under_a_fault_ends_it_too() -> None:
    site = Site()
    site.upstreams["a"]._scripts = (fails(ServerFault("down", status=500)),)
    acting = site.chaos.add(rule(fault=holding(1)))
    with pytest.raises(ProviderError):
        await site.open(request("r1"))
    assert acting.active == 0
