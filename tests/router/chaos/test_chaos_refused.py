"""A fault that could not act is refused, with what is allowed."""

from __future__ import annotations

from typing import Any

import pytest
from worlds import on_virtual_clock

from router.chaos import FaultRefused
from tests.router.chaos.chaotic import Site, rule, timers


@on_virtual_clock
async def test_chaos_that_is_off_injects_nothing() -> None:
    site = Site(enabled=False)
    with pytest.raises(FaultRefused, match=r"chaos is off .*`chaos\.enabled: false`") as refused:
        site.chaos.add(rule())
    assert refused.value.param == "kind"
    assert (site.told, timers()) == ([], 0)


@on_virtual_clock
async def test_no_fault_lasts_longer_than_the_cap() -> None:
    site = Site(max_ttl=30)
    site.chaos.add(rule("short", ttl=30))
    with pytest.raises(FaultRefused, match="must be at most 30 s") as refused:
        site.chaos.add(rule("long", "b/m", ttl=30.001))
    assert refused.value.param == "ttl"
    assert list(site.chaos.acting) == ["short"]


FIRST: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {}, False),
    ({}, {"route": "m"}, False),
    ({}, {"request_id": "r1"}, False),
    ({}, {"streams": True}, False),
    ({}, {"share": 0.1}, False),
    ({"share": 0.99}, {}, True),
    ({"max_active": 5}, {}, True),
    ({"route": "m"}, {}, True),
    ({"route": "m"}, {"route": "other"}, True),
    ({"request_id": "r1"}, {}, True),
    ({"streams": True}, {}, True),
    ({"streams": True}, {"streams": True}, False),
]


@pytest.mark.parametrize(("first", "second", "may"), FIRST)
@on_virtual_clock
async def test_a_second_fault_that_could_never_act_is_refused(
    first: dict[str, Any], second: dict[str, Any], may: bool
) -> None:
    site = Site()
    site.chaos.add(rule("first", **first))
    if may:
        site.chaos.add(rule("second", **second))
        return
    with pytest.raises(FaultRefused, match=r"could never act: 'first' \(http_5xx, share 1\) hits every attempt") as no:
        site.chaos.add(rule("second", **second))
    assert no.value.param == "target"


@on_virtual_clock
async def test_one_with_a_target_of_its_own_can_act() -> None:
    site = Site()
    site.chaos.add(rule("first"))
    site.chaos.add(rule("second", "a/m", "b/m"))
    assert await site.call("r1", "b/m")


@on_virtual_clock
async def test_there_are_never_more_than_64() -> None:
    site = Site()
    for number in range(64):
        site.chaos.add(rule(f"f{number}", share=0.5))
    with pytest.raises(FaultRefused, match="64 faults act already"):
        site.chaos.add(rule("one more", share=0.5))
    site.chaos.stop("f7")
    site.chaos.add(rule("one more", share=0.5))
