from __future__ import annotations

import asyncio

import pytest
from worlds import STUCK, Books, Script, Upstream, World, call_for, fails, healthy, now, on_virtual_clock, said

from providers import Outcome
from providers.errors import Rejected, ServerFault
from router.config import Hedge
from router.errors import Exhausted, Refused, RequestRejected
from router.policies.hedge_share import HedgeShare
from router.types import Live

AFTER_ONE = Hedge(after=1.0, max_share=1.0)


def world(*upstreams, hedge=AFTER_ONE, **kwargs):
    return World(list(upstreams), hedge=hedge, **kwargs)


@on_virtual_clock
async def test_silence_starts_a_second_attempt_and_the_first_content_wins():
    slow, fast = Upstream("slow", healthy(opens=5.0)), Upstream("fast", healthy("fast", opens=0.5))
    it = world(slow, fast)
    async with await it.open() as reply:
        assert now() == pytest.approx(1.5)
        assert [(tried.name, tried.label) for tried in reply.attempts] == [("slow/m", "hedge_loser"), ("fast/m", "200")]
        assert (reply.target, reply.route_reason, reply.waited) == ("fast/m", "hedge", 1.5)
        assert said("fast") in [chunk async for chunk in reply]
    assert it.is_at_rest()
    assert it.books.outcomes == [Outcome.IGNORED, Outcome.OK]  # to lose is nobody's fault


@on_virtual_clock
async def test_the_wait_is_measured_by_the_stopwatch_and_what_is_ours_is_no_part_of_it():
    """The loop's clock is coarse (uvloop: milliseconds, and as of the turn's start), so x-overhead-ms once was noise."""
    it = world(Upstream("a", healthy(opens=5.0)), Upstream("b", healthy(opens=0.5)))
    it.dispatcher._stopwatch = lambda: now() * 1.01
    async with await it.open() as reply:
        assert reply.waited == pytest.approx(1.5 * 1.01)


@on_virtual_clock
async def test_the_pauses_and_waits_of_a_call_that_fails_twice_are_all_of_its_time():
    down = fails(ServerFault("down", status=500), after=1.5)
    it = world(Upstream("a", down), Upstream("b", down), Upstream("c", down), max_attempts=3)
    with pytest.raises(Exhausted) as exhausted:
        await it.open()
    assert exhausted.value.waited == pytest.approx(now())


@on_virtual_clock
async def test_one_that_lost_is_known_to_take_at_least_as_long_and_one_that_hardly_began_is_not():
    """Without it only the fast answers of a target would be known, and each hedge would bring the next one forward."""
    slow, fast = Upstream("slow", healthy(opens=5.0)), Upstream("fast", healthy(opens=0.5))
    it = world(slow, fast)
    await it.answer(call_for("r1"))
    known = [target.live.latency.quantile(0.0, stream=True, tokens=1) for target in it.targets]
    assert known == pytest.approx([1.5, 0.5])
    other = world(Upstream("first", healthy(opens=1.2)), Upstream("hedge", healthy(opens=5.0)))
    await other.answer(call_for("r1"))
    known = [target.live.latency.quantile(0.0, stream=True, tokens=1) for target in other.targets]
    assert known == [pytest.approx(1.2), None]


@on_virtual_clock
async def test_who_answers_in_time_is_not_hedged():
    it = world(Upstream("a", healthy(opens=0.9)), Upstream("b", healthy()))
    await it.answer()
    assert it.calls == [1, 0]


@on_virtual_clock
async def test_the_first_may_still_win():
    it = world(Upstream("a", healthy(opens=1.2)), Upstream("b", healthy(opens=3.0)))
    async with await it.open() as reply:
        assert (now(), reply.target, reply.route_reason) == (1.2, "a/m", "weight")
        assert [tried.label for tried in reply.attempts] == ["hedge_loser", "200"]
    assert it.calls == [1, 1]
    assert it.is_at_rest()


@on_virtual_clock
async def test_the_loser_is_closed_upstream_at_once():
    """It has a stream already, but no content."""
    mute, quick = Upstream("mute", Script(stalls=True)), Upstream("quick", healthy())
    it = world(mute, quick)
    async with await it.open():
        assert now() == pytest.approx(1.0)
        assert [stream.closed for stream in mute.streams] == [1]


@on_virtual_clock
async def test_a_failure_of_one_waits_for_the_other():
    it = world(Upstream("a", healthy(opens=2.0)), Upstream("b", fails(ServerFault("b is down", status=500), after=0.2)))
    async with await it.open() as reply:
        assert (now(), reply.target) == (2.0, "a/m")
        assert [tried.label for tried in reply.attempts] == ["500", "200"]


@on_virtual_clock
async def test_if_both_fail_the_call_goes_on_with_a_third():
    down = fails(ServerFault("down", status=500), after=1.5)
    it = world(Upstream("a", down), Upstream("b", down), Upstream("c", healthy()), max_attempts=3)
    async with await it.open() as reply:
        assert [tried.label for tried in reply.attempts] == ["500", "500", "200"]
    assert it.calls == [1, 1, 1]


@on_virtual_clock
async def test_a_hedge_counts_as_an_attempt():
    down = fails(ServerFault("down", status=500), after=1.5)
    it = world(Upstream("a", down), Upstream("b", down), Upstream("c", healthy()), max_attempts=2)
    with pytest.raises(Exhausted):
        await it.open()
    assert it.calls == [1, 1, 0]
    alone = world(Upstream("a", healthy(opens=5.0)), Upstream("b", healthy()), max_attempts=1)
    await alone.answer()
    assert alone.calls == [1, 0]


@on_virtual_clock
async def test_a_request_that_is_wrong_ends_both():
    wrong = Rejected("no", status=400, body=b"{}")
    it = world(Upstream("a", STUCK), Upstream("b", fails(wrong, after=0.1)))
    with pytest.raises(RequestRejected) as rejected:
        await it.open()
    assert rejected.value.waited == now() == pytest.approx(1.1)  # waited at once is waited once
    assert it.is_at_rest()


@on_virtual_clock
async def test_there_is_no_hedge_without_another_target():
    it = world(Upstream("a", healthy(opens=3.0)))
    await it.answer()
    assert it.calls == [1]


@pytest.mark.parametrize("point", range(1, 8))
@pytest.mark.parametrize("seconds", [0.5, 1.1, 1.6])
def test_a_client_that_leaves_ends_both(point, seconds):
    @on_virtual_clock
    async def scenario():
        it = world(Upstream("a", STUCK), Upstream("b", healthy(opens=float(point))))
        task = asyncio.create_task(it.answer())
        await asyncio.sleep(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert it.is_at_rest()

    scenario()


@on_virtual_clock
async def test_two_that_answer_in_the_same_moment_are_one_answer():
    it = world(Upstream("a", healthy(opens=2.0)), Upstream("b", healthy(opens=1.0)))
    async with await it.open() as reply:
        assert [tried.label for tried in reply.attempts] == ["hedge_loser", "200"]
        assert reply.attempts[-1].target is reply.answered
    assert it.is_at_rest()


@on_virtual_clock
async def test_a_quantile_of_what_is_known_decides_and_nothing_known_means_no_hedge():
    it = world(Upstream("a", healthy(opens=1.0)), Upstream("b", healthy()), hedge=Hedge(quantile=0.5, max_share=1.0))
    for number in range(20):
        await it.answer(call_for(f"r{number}"))
    assert it.calls == [20, 0]
    slow = it.targets[0].live
    for _ in range(40):
        slow.latency.observe(stream=True, tokens=1, seconds=0.25, now=now())
    began = now()
    async with await it.open(call_for("late")) as reply:
        assert (now() - began, reply.route_reason) == (0.25, "hedge")


@on_virtual_clock
async def test_no_more_than_its_share_is_hedged():
    share = HedgeShare()
    upstreams = Upstream("a", healthy(opens=1.5)), Upstream("b", healthy())
    it = world(*upstreams, hedge=Hedge(after=1.0, max_share=0.1), rules=[share])
    refused = 0
    for number in range(100):
        async with await it.open(call_for(f"r{number}")) as reply:
            refused += reply.route_reason != "hedge"
    assert it.calls[0] == 100
    assert it.calls[1] <= 10
    assert refused >= 90


@on_virtual_clock
async def test_a_first_attempt_that_is_never_sent_pays_for_no_hedge():
    """Once every target that refused a call paid for it again."""
    share = HedgeShare()
    full = Books(lambda attempt: Refused("full") if attempt.target.provider.name == "full" else None)
    upstreams = Upstream("full"), Upstream("a", healthy(opens=1.5)), Upstream("b", healthy())
    it = world(*upstreams, hedge=Hedge(after=1.0, max_share=0.1), rules=[share], guards=[full])
    for number in range(100):
        await it.answer(call_for(f"r{number}"))
    assert it.calls[:2] == [0, 100]
    assert 1 <= it.calls[2] <= 10


@on_virtual_clock
async def test_a_hedge_that_is_refused_costs_the_call_nothing():
    books = Books(lambda attempt: Refused("full") if attempt.hedge else None)
    it = world(Upstream("a", healthy(opens=2.0)), Upstream("b", healthy()), guards=[books])
    async with await it.open() as reply:
        assert (now(), reply.target, reply.route_reason) == (2.0, "a/m", "weight")
    assert it.calls == [1, 0]
    assert isinstance(it.targets[0].live, Live)
