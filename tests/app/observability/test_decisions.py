"""The ring of records: what it keeps, how much of it, and what it costs."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from worlds import Upstream, World, call_for, fails, healthy, on_virtual_clock, request

from app.api.exchange import Exchange
from app.observability.decisions import Decisions, described, summary
from providers.errors import ServerFault
from router import Call, Decision, Pin, RouterError
from router.config import Hedge

BODY_BYTES = 100_000


def exchange_of(decision: Decision) -> Exchange:
    one = Exchange({"headers": [(b"x-request-id", decision.request_id.encode())], "method": "POST", "path": "/v1/x"})
    one.decision, one.model, one.status = decision, decision.model, 200
    one.ended = one.started + 0.5
    return one


async def decided(world: World, call: Call) -> Decision:
    decision = Decision()
    try:
        async with await world.dispatcher.open(call, decision) as reply:
            async for _ in reply:
                pass
    except RouterError:
        pass
    return decision


@on_virtual_clock
async def test_the_last_are_kept_and_an_id_that_comes_twice_is_its_latest() -> None:
    world = World([Upstream("a", healthy())])
    ring = Decisions(3)
    for name in ("one", "two", "three", "one", "four"):
        ring([exchange_of(await decided(world, call_for(name)))])
    assert [record.request_id for record in ring] == ["four", "one", "three"]
    assert ring.find("two") is None
    assert len(ring) == 3


@on_virtual_clock
async def test_none_are_kept_if_none_are_wanted() -> None:
    ring = Decisions(0)
    ring([exchange_of(await decided(World([Upstream("a", healthy())]), call_for()))])
    assert list(ring) == []


def test_where_nothing_was_decided_there_is_no_record() -> None:
    ring = Decisions(3)
    health, unrouted = (Exchange({"headers": [], "method": "GET", "path": "/x"}) for _ in range(2))
    unrouted.decision = Decision()
    ring([health, unrouted])
    assert not len(ring)


@on_virtual_clock
async def test_each_step_shows_what_was_known_then_and_not_later() -> None:
    """Nothing that is learnt later may appear in an earlier step."""
    broken = fails(ServerFault("broken", status=500))
    world = World([Upstream("a", broken), Upstream("b", broken), Upstream("c", healthy())])
    decision = await decided(world, call_for())
    ring = Decisions(3)
    ring([exchange_of(decision)])
    record = ring.find("r1")
    assert record is not None
    whys = [[one["why"] for one in step["targets"]] for step in described(record)["steps"]]
    assert whys == [
        [None, "tier 1: after tier 0", "tier 2: after tier 0"],
        ["tried: 500", None, "tier 2: after tier 1"],
        ["tried: 500", "tried: 500", None],
    ]


@on_virtual_clock
async def test_a_hedge_follows_one_that_still_runs() -> None:
    world = World([Upstream("a", healthy(opens=5.0)), Upstream("b", healthy())])
    route = world.dispatcher.routes.find("m")
    object.__setattr__(route, "hedge", Hedge(after=1.0, max_share=1.0))  # noqa: PLC2801 - it is frozen
    decision = await decided(world, call_for())
    ring = Decisions(3)
    ring([exchange_of(decision)])
    record = ring.find("r1")
    assert record is not None
    first, second = described(record)["steps"]
    assert (first["label"], second["label"], second["hedge"]) == ("hedge_loser", "200", True)
    assert [one["why"] for one in second["targets"]] == ["still running", None]
    assert summary(record)["route_reason"] == "hedge"


@pytest.mark.parametrize("pin", [None, "a"])
@on_virtual_clock
async def test_no_body_is_kept_and_a_record_is_small(pin: str | None) -> None:
    broken = ServerFault("broken", status=500)
    world = World([Upstream(name, fails(broken)) for name in "abc"])
    ring = Decisions(200)

    async def run(number: int) -> None:
        asked = request(f"request-{number:08}", messages=[{"role": "user", "content": "x" * BODY_BYTES}])
        ring([exchange_of(await decided(world, Call(asked, "m", Pin.parse(pin) if pin else None)))])
        # What the world itself remembers is not the question.
        broken.__traceback__ = None
        world.books.settled.clear()
        for upstream in world.upstreams:
            for remembered in (upstream.requests, upstream.calls, upstream.models, upstream.connect_timeouts):
                remembered.clear()

    for number in range(5):
        await run(number)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(5, 205):
        await run(number)
    gc.collect()
    size = (tracemalloc.get_traced_memory()[0] - before) / 200
    tracemalloc.stop()
    print(f"{size:.0f} bytes a record of {len(next(iter(ring)).steps)} steps")
    assert size < (2100 if pin is None else 2300)
