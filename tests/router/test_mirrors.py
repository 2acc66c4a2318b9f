from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import (
    BODY,
    DONE,
    FINISH,
    PING,
    ROLE,
    SILENT,
    STUCK,
    Books,
    Script,
    Upstream,
    World,
    alive,
    call_for,
    fails,
    healthy,
    now,
    on_virtual_clock,
    request,
    said,
)

from providers.errors import Empty, RateLimited, Rejected, ServerFault, Truncated, Unreachable
from router import Call, Target, Timeouts
from router.errors import Exhausted
from router.mirrors import MAX_BYTES, MAX_RUNNING, MAX_TOKENS, Mirrors
from router.types import Live, Mirror

SHORT = Timeouts(connect=1.0, first_token=2.0, idle=3.0, attempt=4.0, total=30.0)


class Mirrored:
    """A world of one target, whose calls are copied to ``upstream``. ``live`` is what the mirror must not touch."""

    def __init__(self, upstream: Upstream, share: float = 1.0, *, primary: Upstream | None = None, **world) -> None:
        self.books = Books()
        self.live = alive(self.books)
        self.upstream = upstream
        self.target = Target(upstream, "m", timeouts=world.get("timeouts", SHORT), live=self.live)
        self.primary = primary or Upstream("primary", healthy(opens=0.5))
        self.world = World([self.primary], **({"timeouts": SHORT, "total": SHORT.total} | world))
        self.route = replace(self.world.dispatcher.routes.find("m"), mirror=Mirror(self.target, share))
        self.mirrors = Mirrors()

    async def serve(self, call: Call | None = None) -> float:
        """As the edge does it; when the caller had its answer."""
        call = call or call_for()
        async with await self.world.open(call) as reply:
            self.mirrors.offer(call, self.route)
            async for _ in reply:
                pass
        return now()

    async def over(self) -> None:
        if self.mirrors.running:
            await asyncio.wait(self.mirrors._running)

    @property
    def labels(self) -> dict[str, int]:
        assert {target for target, _ in self.mirrors.outcomes} <= {self.target}
        return {label: count for (_, label), count in self.mirrors.outcomes.items()}

    def is_untouched(self) -> bool:
        """Neither the mirror's target nor that of the caller shows that there was a copy."""
        fresh = Live()
        return bool(
            not self.books.settled
            and (self.live.in_flight, self.live.tokens, self.live.used) == (0, 0, fresh.used)
            and (self.live.failures, self.live.last_failure) == (0, None)
            and self.live.latency.quantile(0.0, stream=True, tokens=1) is None
            and not self.route.outputs.count
            and self.world.is_at_rest()
        )

    def holds_nothing(self) -> bool:
        closed = all(stream.closed for stream in self.upstream.streams)
        return closed and (self.mirrors.running, self.mirrors.tokens, self.mirrors.bytes) == (0, 0, 0)


@on_virtual_clock
async def test_a_copy_is_sent_once_the_callers_answer_has_begun():
    mirror = Upstream("mirror", healthy())
    it = Mirrored(mirror)
    await it.serve(call_for("r1"))
    await it.over()
    assert (mirror.calls, mirror.models, mirror.connect_timeouts) == ([0.5], ["m"], [1.0])
    (copy,) = mirror.requests
    assert (copy.id, copy.headers["x-request-id"]) == ("r1-mirror", "r1-mirror")
    sent = it.primary.requests[0]
    assert copy._replace(id="r1", headers=sent.headers) == sent
    assert it.labels == {"200": 1}
    assert it.is_untouched()
    assert it.holds_nothing()


@on_virtual_clock
async def test_headers_travel_and_the_request_of_the_caller_keeps_its_own_id():
    asked = request("r1")._replace(headers={"x-request-id": "r1", "traceparent": "00-1-2-01"})
    it = Mirrored(mirror := Upstream("mirror", healthy()))
    await it.serve(Call(asked, "m"))
    await it.over()
    assert mirror.requests[0].headers == {"x-request-id": "r1-mirror", "traceparent": "00-1-2-01"}
    assert asked.headers["x-request-id"] == it.primary.requests[0].headers["x-request-id"] == "r1"


@on_virtual_clock
async def test_a_mirror_without_a_model_of_its_own_gets_the_callers():
    it = Mirrored(mirror := Upstream("mirror", healthy()))
    it.route = replace(it.route, mirror=Mirror(replace(it.target, model=None), 1.0))
    it.mirrors.offer(call_for(model="m"), it.route)
    await it.over()
    assert mirror.models == ["m"]


@on_virtual_clock
async def test_a_call_that_nobody_answered_is_not_copied():
    it = Mirrored(mirror := Upstream("mirror", healthy()), primary=Upstream("p", fails(Unreachable("gone"))))
    with pytest.raises(Exhausted):
        await it.serve()
    assert (mirror.calls, it.mirrors.outcomes) == ([], {})


@on_virtual_clock
async def test_a_route_without_a_mirror_sends_no_copy():
    it = Mirrored(mirror := Upstream("mirror", healthy()))
    it.route = replace(it.route, mirror=None)
    await it.serve()
    assert (it.mirrors.running, mirror.calls, it.labels) == (0, [], {})


CONTENT = [ROLE, said(), FINISH, DONE]
# How a mirror may behave: its script, the label, and how long its copy runs (None: not at all).
BEHAVIOURS = {
    "healthy": (healthy(), "200", 0.0),
    "slow": (healthy("a", "b", every=0.5), "200", 2.5),
    "refuses": (fails(Unreachable("nobody there")), "unreachable", 0.0),
    "fails": (fails(ServerFault("broken", status=500), after=0.1), "500", 0.1),
    "throttles": (fails(RateLimited("slow down", status=429, retry_after=20.0)), "429", 0.0),
    "finds_it_wrong": (fails(Rejected("no", status=400, body=b"{}")), "400", 0.0),
    "never_answers": (STUCK, "first_token_timeout", 2.0),
    "never_says_anything": (SILENT, "first_token_timeout", 2.0),
    "only_pings": (Script([ROLE], pings=0.5), "first_token_timeout", 2.0),
    "stalls_midway": (Script([ROLE, said()], stalls=True), "idle_timeout", 3.0),
    "pings_midway": (Script([ROLE, said()], pings=0.5), "idle_timeout", 3.0),
    "breaks_off": (Script([ROLE, said()], every=0.2, breaks=Truncated("cut")), "truncated", 0.4),
    "says_nothing": (Script([ROLE, PING, DONE], breaks=Empty("empty")), "empty", 0.0),
    "talks_for_ever": (Script([said()] * 1000, every=0.5), "deadline", 30.0),
}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@on_virtual_clock
async def test_no_mirror_affects_its_caller(behaviour):
    script, label, seconds = BEHAVIOURS[behaviour]
    it = Mirrored(Upstream("mirror", script))
    assert await it.serve() == pytest.approx(0.5), "the caller waited for its own answer only"
    await it.over()
    assert now() == pytest.approx(0.5 + seconds)
    assert it.labels == {label: 1}
    assert it.is_untouched()
    assert it.holds_nothing()


@on_virtual_clock
async def test_a_plain_answer_is_copied_too_and_bounded_by_the_time_of_an_attempt():
    it = Mirrored(Upstream("mirror", Script([BODY]), STUCK), primary=Upstream("p", Script([BODY])))
    await it.serve(call_for("r1", stream=False))
    await it.serve(call_for("r2", stream=False))
    await asyncio.sleep(3.9)
    assert it.labels == {"200": 1}
    await asyncio.sleep(0.2)
    assert it.labels == {"200": 1, "attempt_timeout": 1}
    assert it.holds_nothing()


@on_virtual_clock
async def test_the_callers_deadline_is_not_the_copys():
    it = Mirrored(Upstream("mirror", healthy(opens=1.5)))
    await it.serve(call_for(timeout=0.6))
    await it.over()
    assert it.labels == {"200": 1}


@on_virtual_clock
async def test_the_copy_goes_on_when_the_caller_has_left():
    primary = Upstream("p", healthy("a", "b", every=0.5))
    it = Mirrored(Upstream("mirror", healthy("a", "b", every=0.5)), primary=primary)
    task = asyncio.create_task(it.serve())
    await asyncio.sleep(1.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert primary.streams[0].closed
    await it.over()
    assert it.labels == {"200": 1}
    assert it.holds_nothing()


# --- limits ---------------------------------------------------------------------------------------------------------


@on_virtual_clock
async def test_beyond_its_own_limit_of_calls_a_copy_is_dropped_and_counted():
    it = Mirrored(mirror := Upstream("mirror", STUCK), timeouts=replace(SHORT, first_token=5.0))
    for number in range(MAX_RUNNING + 3):
        it.mirrors.offer(call_for(f"r{number}"), it.route)
    assert it.mirrors.running == MAX_RUNNING
    assert it.labels == {"dropped": 3}
    await asyncio.sleep(6.0)
    assert len(mirror.calls) == MAX_RUNNING
    assert it.labels == {"dropped": 3, "first_token_timeout": MAX_RUNNING}
    assert it.holds_nothing()
    it.mirrors.offer(call_for("later"), it.route)
    await asyncio.sleep(6.0)
    assert it.labels == {"dropped": 3, "first_token_timeout": MAX_RUNNING + 1}


@on_virtual_clock
async def test_tokens_are_held_from_the_offer_on_and_bound_what_is_sent():
    """Several offers in one turn of the loop, before any of their tasks has run."""
    long = "word " * (MAX_TOKENS // 3)  # a good quarter of what may be held, each
    it = Mirrored(mirror := Upstream("mirror", healthy(opens=1.0)))
    for number in range(5):
        it.mirrors.offer(Call(request(f"r{number}", messages=[{"role": "user", "content": long}]), "m"), it.route)
    held = it.mirrors.tokens
    assert it.mirrors.running == held // (held // it.mirrors.running) < 5
    assert held <= MAX_TOKENS
    await it.over()
    assert len(mirror.calls) + it.labels["dropped"] == 5
    assert it.holds_nothing()


@on_virtual_clock
async def test_bodies_are_bounded_by_their_size_as_pictures_have_few_tokens():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (MAX_BYTES // 4)}}
    it = Mirrored(Upstream("mirror", healthy()))
    for number in range(5):
        it.mirrors.offer(Call(request(f"r{number}", messages=[{"role": "user", "content": [picture]}]), "m"), it.route)
    assert it.mirrors.running == 3
    assert it.mirrors.tokens < MAX_TOKENS / 10
    assert it.labels == {"dropped": 2}
    await it.over()
    assert it.holds_nothing()


# --- the end --------------------------------------------------------------------------------------------------------


@on_virtual_clock
async def test_at_the_end_those_that_run_are_cancelled_and_closed():
    it = Mirrored(mirror := Upstream("mirror", Script([ROLE, said()], stalls=True), STUCK))
    it.mirrors.offer(call_for("r1"), it.route)
    it.mirrors.offer(call_for("r2"), it.route)
    await asyncio.sleep(0.1)
    it.mirrors.offer(call_for("r3"), it.route)  # its task has not begun to run
    await it.mirrors.aclose()
    assert it.labels == {"cancelled": 3}
    assert [stream.closed for stream in mirror.streams] == [1]
    assert len(mirror.calls) == 2
    assert it.holds_nothing()


@on_virtual_clock
async def test_with_nothing_running_the_end_is_there():
    await Mirrors().aclose()


def test_a_bug_in_a_provider_is_told_and_holds_nothing():
    async def scenario():
        it = Mirrored(Upstream("mirror", fails(ZeroDivisionError("a bug"))))
        await it.serve()
        await it.over()
        assert it.holds_nothing()

    with pytest.raises(AssertionError, match="a bug"):
        on_virtual_clock(scenario)()


# --- the share ------------------------------------------------------------------------------------------------------


async def copied(share: float, seed: int = 0, calls: int = 20_000) -> list[int]:
    """The numbers of the calls that were copied."""
    it = Mirrored(Upstream("mirror", healthy()), share)
    it.mirrors = Mirrors(seed)
    chosen = []
    for number in range(calls):
        it.mirrors.offer(call_for(f"req-{number}"), it.route)
        if it.mirrors.running:
            chosen.append(number)
            await it.over()
    return chosen


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.5, 1.0])
@on_virtual_clock
async def test_its_share_of_the_calls_is_copied(share):
    spread = sqrt(share * (1 - share) * 20_000)
    assert abs(len(await copied(share)) - share * 20_000) <= 4 * spread


@on_virtual_clock
async def test_the_request_id_alone_decides_and_a_larger_share_has_the_smaller_one_in_it():
    first = await copied(0.05, calls=2_000)
    assert await copied(0.05, calls=2_000) == first
    assert await copied(0.05, seed=1, calls=2_000) != first
    assert set(first) < set(await copied(0.1, calls=2_000))


@given(
    st.lists(st.tuples(st.sampled_from(sorted(BEHAVIOURS)), st.floats(0, 2), st.booleans()), min_size=1, max_size=60)
)
@examples(60)
def test_every_copy_is_counted_once_and_nothing_is_held(offers):
    @on_virtual_clock
    async def scenario():
        it = Mirrored(Upstream("mirror", *(BEHAVIOURS[behaviour][0] for behaviour, _, _ in offers)))
        for number, (_, pause, stop) in enumerate(offers):
            it.mirrors.offer(call_for(f"r{number}"), it.route)
            await asyncio.sleep(pause)
            if stop and it.mirrors._running:
                min(it.mirrors._running, key=id).cancel()
        await it.over()
        assert Counter(it.labels).total() == len(offers)
        assert it.is_untouched()
        assert it.holds_nothing()

    scenario()
