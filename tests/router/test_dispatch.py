from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import (
    BODY,
    CREATED,
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
    call_for,
    event,
    fails,
    healthy,
    now,
    on_virtual_clock,
    said,
    until_cancelled_at,
)

from providers import Endpoint, Outcome
from providers.errors import (
    Disconnected,
    Malformed,
    Misconfigured,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Rejected,
    ServerFault,
    Truncated,
    Unreachable,
)
from router import Timeouts
from router.config import Queue, Shedding
from router.dispatch import HOLD_BACK_BYTES, HOLD_BACK_CHUNKS, hold_back
from router.errors import (
    DeadlineExceeded,
    Exhausted,
    ModelNotFound,
    NoTarget,
    Refused,
    RequestRejected,
    Shed,
    UnknownPin,
)
from router.events import Shed as TurnedAway

OK, FAULT, OVERLOAD, IGNORED = Outcome
BROKEN = fails(ServerFault("broken", status=500))
REJECTED = Rejected("no", status=400, body=b'{"error":{}}')


def rate_limited(seconds):
    return fails(RateLimited("slow down", status=429, retry_after=seconds))


# What one attempt may meet, the label that it leaves, and what it says about the target.
SAME_TARGET = {
    "unreachable": (fails(Unreachable("x")), "unreachable", FAULT),
    "disconnected": (fails(Disconnected("x"), after=2.0), "disconnected", FAULT),
    "500": (BROKEN, "500", FAULT),
    "503": (fails(Overloaded("x", status=503)), "503", OVERLOAD),
    "429": (rate_limited(2.0), "429", OVERLOAD),
    "429 at once": (rate_limited(0.0), "429", OVERLOAD),
    "malformed": (fails(Malformed("x")), "malformed", FAULT),
    "error after the role": (Script([PING, ROLE], every=1.0, breaks=ServerFault("x")), "server_error", FAULT),
    "error after the metadata": (Script([CREATED, CREATED], breaks=Truncated("x")), "truncated", FAULT),
    "empty": (Script([PING, PING]), "empty", FAULT),
    "pings for ever": (Script([ROLE], pings=1.0), "first_token_timeout", FAULT),
    "silence": (SILENT, "first_token_timeout", FAULT),
    "no answer": (STUCK, "first_token_timeout", FAULT),
}
OTHER_TARGET = {
    "quota": (fails(QuotaExhausted("x", status=429)), "429", IGNORED),
    "401": (fails(Misconfigured("x", status=401)), "401", IGNORED),
    "429 for long": (rate_limited(121.0), "429", OVERLOAD),
}
FAILING = SAME_TARGET | OTHER_TARGET
HEALTHY = healthy("well", "done", opens=0.5, every=0.1)


async def alone():
    return await World([Upstream("a", HEALTHY)]).answer()


async def check_recovery(world, failures):
    reply = await world.open()
    async with reply:
        assert [chunk async for chunk in reply] == await alone()
    assert [tried.label for tried in reply.attempts] == [*(label for _, label, _ in failures), "200"]
    assert world.books.outcomes == [*(outcome for _, _, outcome in failures), OK]
    assert sum(world.calls) == len(failures) + 1
    assert world.is_at_rest()


# --- failing over, retrying -------------------------------------------------------------------------------------


@examples(60)
@given(st.lists(st.sampled_from(sorted(SAME_TARGET)), max_size=4))
@on_virtual_clock
async def test_after_any_failures_the_same_target_answers_as_if_nothing_had_been(kinds):
    failures = [SAME_TARGET[kind] for kind in kinds]
    upstream = Upstream("a", *(script for script, _, _ in failures), HEALTHY)
    world = World([upstream], max_attempts=len(kinds) + 1)
    await check_recovery(world, failures)
    assert all(asked is upstream.requests[0] for asked in upstream.requests)


@examples(60)
@given(st.lists(st.sampled_from(sorted(FAILING)), max_size=4))
@on_virtual_clock
async def test_after_any_failures_another_target_answers_as_if_nothing_had_been(kinds):
    failures = [FAILING[kind] for kind in kinds]
    upstreams = [Upstream(str(place), script) for place, (script, _, _) in enumerate(failures)]
    world = World([*upstreams, Upstream("healthy", HEALTHY)], max_attempts=len(kinds) + 1)
    await check_recovery(world, failures)
    assert world.calls == [1] * (len(kinds) + 1)


@examples(60)
@given(st.lists(st.sampled_from(sorted(FAILING)), min_size=1, max_size=5), st.integers(1, 3), st.integers(0, 99))
@on_virtual_clock
async def test_whatever_the_targets_do_the_end_is_an_answer_or_a_typed_error_and_nothing_stays_open(kinds, count, seed):
    upstreams = [Upstream(str(place), *(FAILING[kind][0] for kind in kinds[place:] + kinds)) for place in range(count)]
    world = World(upstreams, max_attempts=4, weights=[1.0] * count, seed=seed)
    with pytest.raises(Exhausted) as error:
        await world.open()
    labels = [FAILING[kind][1] for kind in kinds]
    assert 1 <= sum(world.calls) == len(error.value.attempts) <= 4
    assert {tried.label for tried in error.value.attempts} <= set(labels)
    assert world.is_at_rest()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("cap", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("count", [1, 2, 3])
@on_virtual_clock
async def test_always_failing_targets_are_called_max_attempts_times_in_turn(count, cap, stream):
    world = World([Upstream(name, BROKEN) for name in "abc"[:count]], max_attempts=cap)
    with pytest.raises(Exhausted) as error:
        await world.open(call_for(stream=stream))
    assert world.calls == [cap // count + (place < cap % count) for place in range(count)]
    assert [tried.name for tried in error.value.attempts] == [f"{'abc'[turn % count]}/m" for turn in range(cap)]
    assert {tried.label for tried in error.value.attempts} == {"500"}
    assert error.value.cause.status == 500
    assert world.books.outcomes == [FAULT] * cap
    assert world.is_at_rest()


@pytest.mark.parametrize("kind", OTHER_TARGET)
@on_virtual_clock
async def test_where_waiting_cures_nothing_the_same_target_is_not_called_again(kind):
    script, label, outcome = OTHER_TARGET[kind]
    world = World([Upstream("a", script)], max_attempts=5)
    with pytest.raises(Exhausted) as error:
        await world.open()
    assert [tried.label for tried in error.value.attempts] == [label]
    assert world.calls == [1]
    assert world.books.outcomes == [outcome]
    assert now() == 0


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@on_virtual_clock
async def test_a_rejection_ends_the_call_at_once_with_the_upstream_s_words(stream):
    world = World([Upstream("a", fails(REJECTED)), Upstream("b", healthy())], max_attempts=5)
    with pytest.raises(RequestRejected) as error:
        await world.open(call_for(stream=stream))
    assert error.value.cause is REJECTED
    assert [tried.label for tried in error.value.attempts] == ["400"]
    assert world.calls == [1, 0]
    assert world.books.outcomes == [OK]  # the target is well: it understood and said no


@on_virtual_clock
async def test_the_last_failure_is_the_one_that_is_told():
    world = World([Upstream("a", BROKEN), Upstream("b", rate_limited(9.0))], max_attempts=2)
    with pytest.raises(Exhausted) as error:
        await world.open()
    assert (error.value.cause.status, error.value.cause.retry_after) == (429, 9.0)


@pytest.mark.parametrize(("pin", "calls"), [("a", [3, 0]), ("b", [0, 3]), ("b, a", [1, 2]), ("b, *", [1, 2])])
@on_virtual_clock
async def test_a_pin_bounds_where_a_call_may_go(pin, calls):
    world = World([Upstream("a", BROKEN), Upstream("b", BROKEN)])
    with pytest.raises(Exhausted):
        await world.open(call_for(pin=pin))
    assert world.calls == calls


@on_virtual_clock
async def test_what_the_provider_is_told():
    upstream = Upstream("a", healthy())
    await World([upstream], timeouts=Timeouts(connect=2.5)).answer()
    await World([upstream], model=None).answer()
    assert upstream.models == ["m", "m"]
    await World([upstream], model="other").answer()
    assert upstream.models[-1] == "other"
    assert upstream.connect_timeouts == [2.5, 5.0, 5.0]


@pytest.mark.parametrize(("call", "error"), [(call_for(model="x"), ModelNotFound), (call_for(pin="x"), UnknownPin)])
@on_virtual_clock
async def test_a_call_that_leads_nowhere_calls_no_one(call, error):
    world = World([Upstream("a", healthy())])
    with pytest.raises(error) as raised:
        await world.open(call)
    assert (raised.value.attempts, raised.value.waited, world.calls) == ((), 0.0, [0])


@on_virtual_clock
async def test_the_same_seed_and_id_go_the_same_way_and_other_ids_other_ways():
    def way(request_id, seed):
        async def go():
            world = World([Upstream(name, BROKEN) for name in "abcd"], max_attempts=6, weights=[4, 3, 2, 1], seed=seed)
            with pytest.raises(Exhausted) as error:
                await world.open(call_for(request_id))
            return [tried.name for tried in error.value.attempts]

        return go()

    ways = [await way(f"r{number}", 1) for number in range(50)]
    assert ways == [await way(f"r{number}", 1) for number in range(50)]
    assert ways != [await way(f"r{number}", 2) for number in range(50)]
    assert len({tuple(each) for each in ways}) > 10


# --- waiting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0, 0.5, 7.0, 120.0])
@on_virtual_clock
async def test_retry_after_is_waited_for_exactly(seconds):
    upstream = Upstream("a", rate_limited(seconds), healthy())
    await World([upstream]).answer()
    assert upstream.calls == [0.0, seconds]


@on_virtual_clock
async def test_retry_after_holds_for_its_own_target_only():
    first, second = Upstream("a", rate_limited(7.0), healthy()), Upstream("b", rate_limited(9.0))
    await World([first, second]).answer()
    assert (first.calls, second.calls) == ([0.0, 7.0], [0.0])


@on_virtual_clock
async def test_a_retry_after_beyond_two_minutes_goes_to_another_target_at_once():
    world = World([Upstream("a", rate_limited(121.0)), Upstream("b", healthy())])
    await world.answer()
    assert (world.calls, now()) == ([1, 1], 0.0)


@examples(100)
@given(st.integers(0, 10**9))
@on_virtual_clock
async def test_a_pause_before_the_same_target_is_full_jitter_up_to_a_doubling_bound(number):
    upstream = Upstream("a", BROKEN)
    with pytest.raises(Exhausted):
        await World([upstream], max_attempts=12).open(call_for(f"r{number}"))
    pauses = [after - before for before, after in zip(upstream.calls, upstream.calls[1:], strict=False)]
    for place, pause in enumerate(pauses, start=1):
        assert 0 <= pause <= min(20.0, 0.05 * 2 ** (place - 1)) + 1e-9
    assert len(set(pauses)) > 1


@on_virtual_clock
async def test_a_pause_is_as_often_in_the_lower_half_of_its_bound_as_in_the_upper():
    upstreams = [Upstream("a", BROKEN, healthy()) for _ in range(1000)]
    for number, upstream in enumerate(upstreams):
        begun = now()
        await World([upstream]).answer(call_for(f"r{number}"))
        upstream.calls[1] -= begun
    lower = sum(upstream.calls[1] < 0.025 for upstream in upstreams)
    assert abs(lower - 500) < 3.29 * (1000 * 0.5 * 0.5) ** 0.5


@on_virtual_clock
async def test_there_is_no_pause_before_another_target():
    world = World([Upstream(name, BROKEN) for name in "abc"])
    with pytest.raises(Exhausted):
        await world.open()
    assert [upstream.calls for upstream in world.upstreams] == [[0.0], [0.0], [0.0]]


# --- time limits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "own", "ends"), [(10.0, None, 10.0), (10.0, 3.0, 3.0), (10.0, 99.0, 10.0)])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@on_virtual_clock
async def test_one_deadline_spans_all_attempts_and_a_client_can_only_shorten_it(total, own, ends, stream):
    upstream = Upstream("a", fails(ServerFault("x", status=500), after=2.0))
    world = World([upstream], max_attempts=99, total=total)
    with pytest.raises(DeadlineExceeded) as error:
        await world.open(call_for(stream=stream, timeout=own))
    assert now() == pytest.approx(ends)
    assert error.value.attempts[-1].label == "deadline"
    assert world.books.outcomes == [*[FAULT] * (len(upstream.calls) - 1), IGNORED]
    assert world.is_at_rest()


@pytest.mark.parametrize("script", [STUCK, SILENT, Script([ROLE], pings=1.0)], ids=["in open", "silent", "pings"])
@on_virtual_clock
async def test_the_deadline_is_nobody_s_fault_and_beats_a_phase_that_ends_with_it(script):
    world = World([Upstream("a", script)], total=30.0, timeouts=Timeouts(first_token=30.0))
    with pytest.raises(DeadlineExceeded):
        await world.open()
    assert now() == pytest.approx(30.0)
    assert world.books.outcomes == [IGNORED]
    assert world.is_at_rest()


@on_virtual_clock
async def test_a_pause_that_would_outlast_the_deadline_is_not_begun():
    world = World([Upstream("a", rate_limited(20.0))], total=10.0)
    with pytest.raises(Exhausted) as error:
        await world.open()
    assert (error.value.cause.retry_after, now(), world.calls) == (20.0, 0.0, [1])


@on_virtual_clock
async def test_a_target_that_must_rest_beyond_the_deadline_does_not_end_a_call_that_another_could_serve():
    """Once the call ended there, although b was ready in 0.1 s."""
    world = World([Upstream("a", rate_limited(100.0)), Upstream("b", BROKEN, healthy())], max_attempts=4, total=10.0)
    await world.answer()
    assert world.calls == [1, 2]


@on_virtual_clock
async def test_first_token_bounds_a_stream_however_many_pings_come():
    world = World(
        [Upstream("a", Script([ROLE], pings=1.0)), Upstream("b", healthy())], timeouts=Timeouts(first_token=30.0)
    )
    reply = await world.open()
    assert [tried.label for tried in reply.attempts] == ["first_token_timeout", "200"]
    assert now() == pytest.approx(30.0)
    await reply.aclose()
    assert world.is_at_rest()


@pytest.mark.parametrize("script", [STUCK, SILENT, Script(pings=1.0)], ids=["in open", "silent", "pings"])
@on_virtual_clock
async def test_attempt_bounds_a_plain_answer_and_first_token_does_not(script):
    limits = Timeouts(first_token=1.0, attempt=50.0)
    world = World([Upstream("a", script), Upstream("b", Script([BODY], opens=40.0))], timeouts=limits)
    reply = await world.open(call_for(stream=False))
    assert [tried.label for tried in reply.attempts] == ["attempt_timeout", "200"]
    assert now() == pytest.approx(90.0)
    await reply.aclose()
    assert world.is_at_rest()


@on_virtual_clock
async def test_each_attempt_has_its_own_time_for_the_first_token():
    upstream = Upstream("a", fails(ServerFault("x"), after=20.0), healthy(opens=20.0))
    assert await World([upstream], timeouts=Timeouts(first_token=30.0)).answer()


@on_virtual_clock
async def test_a_pause_is_waiting_but_not_part_of_the_attempt_after_it():
    world = World([Upstream("a", rate_limited(7.0), healthy(opens=1.0))])
    reply = await world.open()
    await reply.aclose()
    assert [tried.seconds for tried in reply.attempts] == pytest.approx([0.0, 1.0])
    assert reply.waited == pytest.approx(8.0)


@on_virtual_clock
async def test_what_the_upstreams_took_is_added_up():
    world = World([Upstream("a", fails(ServerFault("x"), after=2.0)), Upstream("b", healthy(opens=3.0, every=1.0))])
    reply = await world.open()
    await reply.aclose()
    assert [tried.seconds for tried in reply.attempts] == [2.0, 5.0]  # the role, then the first content
    assert reply.waited == 7


# --- the commit point -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "metadata"),
    [
        (Endpoint.CHAT, [ROLE]),
        (Endpoint.CHAT, [PING, ROLE, PING]),
        (Endpoint.RESPONSES, [CREATED, event({"type": "response.in_progress"})]),
    ],
    ids=["role", "role and pings", "response.created"],
)
@pytest.mark.parametrize(
    "error", [ServerFault("x", status=500), QuotaExhausted("x", status=429), Disconnected("x")], ids=repr
)
@on_virtual_clock
async def test_an_error_after_metadata_fails_over_and_the_client_sees_one_answer(endpoint, metadata, error):
    world = World([Upstream("a", Script(metadata, breaks=error)), Upstream("b", HEALTHY)])
    assert await world.answer(call_for(endpoint=endpoint)) == await alone()
    assert world.calls == [1, 1]
    assert world.is_at_rest()


@pytest.mark.parametrize("ends", [{"breaks": ServerFault("x", status=500)}, {"stalls": True}, {"pings": 1.0}], ids=str)
@on_virtual_clock
async def test_with_content_in_hand_there_is_no_second_attempt(ends):
    world = World([Upstream("a", Script([ROLE, said("a"), said("b")], **ends)), Upstream("b", healthy())])
    reply = await world.open()
    assert len(reply.attempts) == 1
    seen = []

    async def read():
        async for chunk in reply:
            seen.append(chunk)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(ProviderError) as error:
        await read()
    assert seen[:3] == [ROLE, said("a"), said("b")]
    assert error.value.label == ("500" if "breaks" in ends else "idle_timeout")
    await reply.aclose()
    assert world.calls == [1, 0]
    assert world.books.outcomes == [FAULT]
    assert world.is_at_rest()


@pytest.mark.parametrize(
    ("chunks", "held"),
    [
        ([said()], 1),
        ([ROLE, said(), said()], 2),
        ([PING, ROLE, PING, said()], 2),
        ([ROLE, FINISH], 2),
        ([ROLE, DONE], 2),
        ([ROLE] * 300, HOLD_BACK_CHUNKS),
        ([PING] * 300 + [ROLE] * 10, 10),
        ([event({"x": "y" * (HOLD_BACK_BYTES // 2)})] * 5, 2),
        ([event({"x": "y" * (2 * HOLD_BACK_BYTES)})] * 5, 1),
    ],
    ids=[
        "content",
        "role first",
        "pings out",
        "finish",
        "complete",
        "chunks",
        "pings do not count",
        "bytes",
        "one large",
    ],
)
@on_virtual_clock
async def test_an_answer_is_held_back_up_to_its_content_within_bounds(chunks, held):
    upstream = Upstream("a", Script(chunks))
    stream = await upstream.open(call_for().request, "m", 5.0)
    found = await hold_back(stream)
    assert len(found) == held
    assert found == [chunk for chunk in chunks if chunk.events][:held]


@on_virtual_clock
async def test_all_that_was_held_back_is_passed_on_and_the_rest_after_it():
    chunks = [PING, ROLE, ROLE, PING, said("a"), PING, said("b"), FINISH, DONE]
    assert (
        await World([Upstream("a", Script(chunks))]).answer()
        == [chunk for chunk in chunks if chunk is not PING][:3] + chunks[5:]
    )


@on_virtual_clock
async def test_a_plain_answer_is_committed_by_its_body():
    world = World([Upstream("a", Script([BODY]))])
    assert await world.answer(call_for(stream=False)) == [BODY]
    assert world.books.outcomes == [OK]


# --- rules and guards -------------------------------------------------------------------------------------------


def refuses(name, *, final=False, reason="full"):
    """A policy that says no to the target of this provider, or with "" to all."""
    return Books(
        lambda attempt: Refused(reason, final=final) if attempt.target.provider.name in (name or "ab") else None
    )


@pytest.mark.parametrize("place", ["rules", "guards"])
@on_virtual_clock
async def test_a_refusal_hands_earlier_tickets_back_and_leads_to_another_target(place):
    later = refuses("a")
    world = World([Upstream("a", healthy()), Upstream("b", healthy())], max_attempts=1, **{place: [later]})
    assert await world.answer()
    assert world.calls == [0, 1]
    assert world.books.outcomes == ([OK] if place == "rules" else [IGNORED, OK])
    assert later.outcomes == [OK]
    assert [target.live.failures for target in world.targets] == [0, 0]
    assert world.is_at_rest()


@on_virtual_clock
async def test_a_refusal_by_a_guard_hands_the_rules_tickets_back():
    rule = Books()
    world = World([Upstream("a", healthy())], rules=[rule], guards=[refuses("a")])
    with pytest.raises(NoTarget) as error:
        await world.open()
    assert error.value.attempts == ()
    assert rule.outcomes == world.books.outcomes == [IGNORED]
    assert world.calls == [0]


@pytest.mark.parametrize(
    ("reason", "error"), [("max_attempts", NoTarget), ("full", NoTarget), ("deadline", DeadlineExceeded)]
)
@pytest.mark.parametrize("place", ["rules", "guards"])
@on_virtual_clock
async def test_a_final_refusal_ends_the_call(place, reason, error):
    world = World(
        [Upstream("a", healthy()), Upstream("b", healthy())], **{place: [refuses("", final=True, reason=reason)]}
    )
    with pytest.raises(error):
        await world.open()
    assert world.calls == [0, 0]
    assert world.is_at_rest()


@on_virtual_clock
async def test_a_final_refusal_after_a_failure_tells_the_failure():
    world = World([Upstream("a", BROKEN), Upstream("b", healthy())], guards=[refuses("b", final=True)])
    with pytest.raises(Exhausted) as error:
        await world.open()
    assert error.value.cause.status == 500


@on_virtual_clock
async def test_a_refused_target_is_not_asked_again_and_costs_no_attempt():
    guard = refuses("a")
    world = World([Upstream("a", healthy()), Upstream("b", BROKEN, BROKEN, healthy())], max_attempts=3, guards=[guard])
    assert await world.answer()
    assert world.calls == [0, 3]
    assert world.books.outcomes == [IGNORED, FAULT, FAULT, OK]


# --- cancelling -------------------------------------------------------------------------------------------------


def eventful():
    """A world whose call meets every kind of await: open, metadata, failure, failover, pause, pings, content, end."""
    first = Script([ROLE], every=1.0, breaks=ServerFault("x", status=500))
    last = Script([ROLE, PING, said("a"), PING, said("b"), FINISH, DONE], every=1.0, opens=1.0)
    return World([Upstream("a", first, last), Upstream("b", fails(Disconnected("x"), after=1.0))])


@pytest.mark.parametrize("late", [False, True], ids=["waiting", "just done"])
@on_virtual_clock
async def test_a_call_cancelled_at_any_await_settles_once_and_leaves_nothing_open(late):
    point, cancelled = 0, True
    while cancelled:
        point += 1
        world = eventful()
        chunks, cancelled = await until_cancelled_at(world.answer(), point, late=late)
        outcomes = world.books.outcomes
        if cancelled:
            assert outcomes in ([IGNORED], [FAULT], [FAULT, IGNORED], [FAULT] * 2, [FAULT, FAULT, IGNORED]), point
        assert world.is_at_rest(), point
        assert sum(world.calls) <= 3
    assert len(chunks) == 6
    assert outcomes == [FAULT, FAULT, OK]
    assert point > 10


@pytest.mark.parametrize("late", [False, True], ids=["waiting", "just done"])
@on_virtual_clock
async def test_a_plain_call_cancelled_at_any_await_settles_once_and_leaves_nothing_open(late):
    point, cancelled = 0, True
    while cancelled:
        point += 1
        world = World([Upstream("a", BROKEN, Script([BODY], opens=1.0, every=1.0))])
        chunks, cancelled = await until_cancelled_at(world.answer(call_for(stream=False)), point, late=late)
        assert world.is_at_rest(), point
    assert chunks == [BODY]
    assert point > 3


@pytest.mark.parametrize("first", ["the client", "the timeout"])
@on_virtual_clock
async def test_a_client_that_leaves_just_when_time_is_up_is_not_kept(first):
    loop = asyncio.get_running_loop()
    world = World([Upstream("a", STUCK), Upstream("b", healthy())], timeouts=Timeouts(first_token=10.0))
    task = asyncio.create_task(world.open())
    if first == "the timeout":
        await asyncio.sleep(0)
    loop.call_at(10.0, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (now(), world.calls, world.books.outcomes) == (10.0, [1, 0], [IGNORED])
    assert world.is_at_rest()


@on_virtual_clock
async def test_a_long_rest_of_one_target_does_not_hold_up_a_call_that_another_could_serve():
    """Once: the second round waited out the first target's Retry-After although the second one was free at once."""
    resting = Upstream("a", rate_limited(60.0), healthy())
    ready = Upstream("b", BROKEN, healthy())
    world = World([resting, ready])
    reply = await world.open()
    await reply.aclose()
    assert reply.target.startswith("b/")
    assert now() < 1


# --- time that is too short for a target ------------------------------------------------------------------------------


def takes(target, seconds):
    for _ in range(20):
        target.live.latency.observe(stream=True, tokens=1, seconds=seconds, now=0.0)


@on_virtual_clock
async def test_who_cannot_answer_in_time_is_passed_over_for_who_can():
    world = World([Upstream("slow", healthy()), Upstream("fast", healthy())])
    takes(world.targets[0], 5.0)
    takes(world.targets[1], 0.1)
    async with await world.open(call_for(timeout=2.0)) as reply:
        assert reply.target == "fast/m"
    assert world.calls == [0, 1]
    assert world.is_at_rest()


@on_virtual_clock
async def test_if_nobody_can_answer_in_time_nobody_is_asked():
    world = World([Upstream("slow", healthy()), Upstream("slower", healthy())])
    for target in world.targets:
        takes(target, 5.0)
    with pytest.raises(DeadlineExceeded):
        await world.open(call_for(timeout=2.0))
    assert world.calls == [0, 0]


# --- room that was gone when a call came ------------------------------------------------------------------------------


@on_virtual_clock
async def test_a_call_whose_room_was_taken_goes_back_to_the_queue():
    """The look said yes, and the guard said no: once that was a 503."""
    noes = iter([Refused("at_its_limit"), Refused("at_its_limit")])
    world = World([Upstream("a", healthy())], guards=[Books(lambda _: next(noes, None))], shedding=Shedding())
    async with await world.open() as reply:
        assert reply.target == "a/m"
    assert world.calls == [1]
    assert world.is_at_rest()


@on_virtual_clock
async def test_it_does_not_go_back_for_ever():
    world = World([Upstream("a")], guards=[Books(lambda _: Refused("at_its_limit"))], shedding=Shedding())
    with pytest.raises(Shed) as shed:
        await world.open()
    assert (shed.value.cause, shed.value.retry_after) == ("targets_full", 1.0)
    assert world.calls == [0]


@pytest.mark.parametrize("shedding", [Shedding(), Shedding(enabled=False)], ids=["through the queue", "at once"])
@on_virtual_clock
async def test_a_call_that_is_turned_away_after_the_gate_is_told_once(shedding):
    world = World([Upstream("a")], guards=[Books(lambda _: Refused("at_its_limit"))], shedding=shedding)
    told = []
    world.dispatcher.events.listen(told.append, TurnedAway)
    with pytest.raises(Shed):
        await world.open()
    assert told == [TurnedAway(now(), "r1", "m", "default", "targets_full")]


@on_virtual_clock
async def test_what_the_gate_turns_away_is_its_own_to_tell():
    world = World([Upstream("a", healthy())], shedding=Shedding(max_tokens_in_flight=1, queue=Queue(length=0)))
    told = []
    world.dispatcher.events.listen(told.append, TurnedAway)
    async with await world.open(call_for("large")):
        with pytest.raises(Shed, match="wait already"):
            await world.open()
    assert not told
