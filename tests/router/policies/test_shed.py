from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import call_for

from router.config import Queue, Shedding
from router.errors import Shed
from router.policies.line import Waiter
from router.policies.shed import Shedder
from router.types import Call, Pin, Priority, Route

BATCH, SHEDDABLE, DEFAULT, CRITICAL = Priority
ROUTE = Route("m", ())


def shedder(most: float = 1000, *, length: int = 100, timeout: float = 2.0, enabled: bool = True) -> Shedder:
    return Shedder(Shedding(enabled, most, Queue(length, timeout)))


def call_of(priority: Priority = DEFAULT, pin: str | None = None) -> Call:
    return call_for()._replace(priority=priority, pin=Pin.parse(pin) if pin else None)


class Room:
    """Of an upstream: is there any?"""

    def __init__(self, *, left: bool = False) -> None:
        self.left = left

    def __call__(self) -> bool:
        return self.left


ROOM, FULL = Room(left=True), Room()


def enters(
    policy: Shedder, tokens: int = 100, priority: Priority = DEFAULT, *, room: Room = ROOM, at: float = 0.0
) -> bool:
    return policy.enter(call_of(priority), ROUTE, tokens, room, at)


def waits(
    policy: Shedder,
    priority: Priority = DEFAULT,
    *,
    at: float = 0.0,
    tokens: int = 100,
    room: Room = ROOM,
    route: Route = ROUTE,
    pin: str | None = None,
    deadline: float = 600.0,
) -> Waiter:
    return policy.join(call_of(priority, pin), route, tokens, room, deadline, at)[0]


def next_up(policy: Shedder, at: float = 0.0) -> Waiter | None:
    """Who goes next, one at a time; it arrives at once."""
    waiter = next(policy.call_up(at), None)
    if waiter is not None:
        policy.arrive(waiter, at)
    return waiter


def refused(policy: Shedder, priority: Priority = DEFAULT, **how: object) -> Shed:
    with pytest.raises(Shed) as shed:
        waits(policy, priority, **how)
    return shed.value


# --- coming in ---


def test_there_is_room_for_so_many_tokens():
    policy = shedder(1000)
    assert [enters(policy, 300) for _ in range(4)] == [True, True, True, False]
    assert policy.tokens == 900
    assert enters(policy, 100)
    policy.release(300)
    assert policy.tokens == 700
    assert enters(policy, 300)


def test_what_is_larger_than_the_whole_runs_alone():
    policy = shedder(1000)
    assert enters(policy, 5000)
    assert not enters(policy, 1)
    policy.release(5000)
    assert enters(policy, 1)
    assert not enters(policy, 5000)


def test_without_room_upstream_it_waits_and_takes_nothing():
    policy = shedder()
    assert not enters(policy, room=FULL)
    assert policy.tokens == 0


def test_switched_off_it_counts_and_lets_everybody_in():
    policy = shedder(100, enabled=False)
    assert all(enters(policy, 100, BATCH, room=FULL) for _ in range(50))
    assert policy.tokens == 5000
    for _ in range(50):
        policy.release(100)
    assert policy.tokens == 0


def test_a_newcomer_does_not_overtake_its_own_priority_or_a_higher_one():
    policy = shedder()
    waits(policy, DEFAULT, room=FULL)
    assert not enters(policy, priority=DEFAULT)
    assert not enters(policy, priority=SHEDDABLE)
    assert enters(policy, priority=CRITICAL)


def test_who_has_been_called_and_not_arrived_is_not_overtaken():
    policy = shedder()
    waiter = waits(policy)
    assert list(policy.call_up(0.0)) == [waiter]
    assert not enters(policy)
    policy.arrive(waiter, 0.0)
    assert enters(policy)


def test_a_route_without_room_holds_up_no_other():
    policy, other = shedder(), Route("other", ())
    waits(policy, CRITICAL, room=FULL)
    assert next_up(policy) is None
    assert policy.enter(call_of(BATCH), other, 100, ROOM, 0.0)


def test_of_a_route_too_what_is_pinned_to_a_full_provider_holds_up_no_other():
    policy = shedder()
    waits(policy, CRITICAL, room=FULL, pin="a")
    assert next_up(policy) is None
    assert enters(policy)
    waits(policy, CRITICAL, room=FULL)
    assert policy.enter(call_of(DEFAULT, "b"), ROUTE, 100, ROOM, 0.0)


def test_who_waits_for_tokens_is_not_overtaken_on_another_route():
    policy, other = shedder(1000), Route("other", ())
    assert enters(policy, 700)
    large = waits(policy, DEFAULT, tokens=500)
    assert next_up(policy) is None
    assert not policy.enter(call_of(DEFAULT), other, 10, ROOM, 0.0)
    assert policy.enter(call_of(CRITICAL), other, 10, ROOM, 0.0)
    policy.release(700)
    assert next_up(policy) is large


# --- going ---


def test_higher_priorities_go_first_and_each_in_its_order():
    policy = shedder(10_000)
    came = [waits(policy, priority) for priority in (BATCH, DEFAULT, CRITICAL, SHEDDABLE, DEFAULT, CRITICAL)]
    went = [next_up(policy) for _ in came]
    assert went == [came[place] for place in (2, 5, 1, 4, 3, 0)]
    assert policy.tokens == 600
    assert policy.waiting == 0


def test_nobody_small_passes_one_that_is_too_large_still():
    policy = shedder(1000)
    assert enters(policy, 700)
    large, small = waits(policy, tokens=500), waits(policy, tokens=10)
    assert next_up(policy) is None
    policy.release(700)
    assert next_up(policy) is large
    assert next_up(policy) is small


def test_one_without_room_is_passed_and_keeps_its_place():
    policy, other = shedder(), Route("other", ())
    room = Room()
    first = waits(policy, CRITICAL, room=room)
    second = waits(policy, BATCH, route=other)
    assert next_up(policy) is second
    room.left = True
    assert next_up(policy) is first


def test_routes_take_turns():
    policy = shedder(10_000)
    routes = [Route(name, ()) for name in "abc"]
    came = [waits(policy, route=route) for route in routes for _ in range(2)]
    went = [next_up(policy) for _ in came]
    assert went == [came[place] for place in (0, 2, 4, 1, 3, 5)]


def test_one_slot_calls_up_one():
    policy = shedder(100_000)
    came = [waits(policy) for _ in range(50)]
    called = list(policy.call_up(0.0))
    assert called == came[:1]
    assert list(policy.call_up(0.0)) == []  # what the first takes has not been seen
    policy.arrive(called[0], 0.0)
    assert list(policy.call_up(0.0)) == came[1:2]


def test_as_many_are_called_up_as_have_ended():
    policy = shedder(100_000)
    for _ in range(10):
        assert enters(policy)
    came = [waits(policy) for _ in range(50)]
    for _ in range(10):
        policy.release(100)
    called = list(policy.call_up(0.0))
    assert called == came[:10]
    for waiter in called:
        policy.arrive(waiter, 0.0)
    assert list(policy.call_up(0.0)) == came[10:11]


def test_what_ends_before_the_called_have_arrived_is_not_forgotten():
    policy = shedder(100_000)
    for _ in range(3):
        assert enters(policy)
    came = [waits(policy) for _ in range(50)]
    called = list(policy.call_up(0.0))
    for _ in range(3):
        policy.release(100)
    assert list(policy.call_up(0.0)) == []
    policy.arrive(called[0], 0.0)
    assert list(policy.call_up(0.0)) == came[1:4]


def test_one_that_is_larger_than_the_whole_goes_when_nothing_runs():
    policy = shedder(1000)
    assert enters(policy, 100)
    waiter = waits(policy, tokens=5000)
    assert next_up(policy) is None
    policy.release(100)
    assert next_up(policy) is waiter


def test_what_ended_while_nobody_waited_calls_up_nobody():
    policy = shedder(100_000)
    for _ in range(10):
        assert enters(policy)
        policy.release(100)
    came = [waits(policy) for _ in range(50)]
    assert list(policy.call_up(0.0)) == came[:1]


def test_who_finds_no_room_goes_back_to_its_place():
    policy = shedder()
    first, second = waits(policy), waits(policy)
    assert list(policy.call_up(0.0)) == [first]
    assert policy.tokens == 100
    policy.put_back(first)
    assert policy.tokens == 0
    assert [next_up(policy), next_up(policy)] == [first, second]


def test_who_leaves_gives_back_what_it_was_granted():
    policy = shedder()
    first, second = waits(policy), waits(policy)
    assert list(policy.call_up(0.0)) == [first]
    policy.leave(first, 0.0)
    policy.leave(second, 0.0)
    assert (policy.tokens, policy.waiting) == (0, 0)
    assert next_up(policy) is None


def test_what_is_wrong_with_a_call_is_told_before_anybody_is_evicted():
    policy = shedder(length=1)
    waits(policy, BATCH)

    def wrong() -> bool:
        raise LookupError

    with pytest.raises(LookupError):
        policy.join(call_of(CRITICAL), ROUTE, 100, wrong, 600.0, 0.0)
    assert policy.waiting == 1
    assert not policy.shed


# --- a full queue ---


def test_a_full_queue_turns_newcomers_away():
    policy = shedder(length=3)
    for _ in range(3):
        waits(policy)
    assert refused(policy).cause == "queue_full"
    assert refused(policy, BATCH).cause == "queue_full"
    assert policy.waiting == 3
    assert policy.shed == {("queue_full", DEFAULT): 1, ("queue_full", BATCH): 1}


def test_a_newcomer_takes_the_place_of_the_newest_of_the_lowest_priority():
    policy = shedder(length=4)
    waits(policy, DEFAULT, at=0.0)
    waits(policy, SHEDDABLE, at=0.1)
    newest = waits(policy, SHEDDABLE, at=0.2, route=Route("other", ()))
    waits(policy, DEFAULT, at=0.3)
    _, evicted = policy.join(call_of(CRITICAL), ROUTE, 100, ROOM, 600.0, 0.4)
    assert evicted is newest
    assert policy.waiting == 4


def test_the_lowest_goes_before_the_newest():
    policy = shedder(length=3)
    lowest = waits(policy, BATCH, at=0.0)
    waits(policy, SHEDDABLE, at=0.1)
    waits(policy, SHEDDABLE, at=0.2)
    assert policy.join(call_of(DEFAULT), ROUTE, 100, ROOM, 600.0, 0.3)[1] is lowest


def test_who_may_go_already_is_not_evicted():
    policy = shedder(length=1)
    waiter = waits(policy, BATCH)
    assert list(policy.call_up(0.0)) == [waiter]
    assert refused(policy, CRITICAL).cause == "queue_full"


def test_without_a_queue_nobody_waits():
    assert refused(shedder(length=0), CRITICAL).cause == "queue_full"


# --- the expected wait ---


def queue_that_drains(policy: Shedder, per_second: float, seconds: float, priority: Priority = DEFAULT) -> float:
    """One waits all the time, and one goes at this rate. The result is the time."""
    now, room = 0.0, Room()
    waits(policy, priority, at=now, room=room)
    for _ in range(int(per_second * seconds)):
        now += 1 / per_second
        waits(policy, priority, at=now, room=room)
        room.left = True
        assert next_up(policy, now) is not None
        room.left = False
    return now


def test_of_a_new_queue_the_best_is_hoped():
    policy = shedder(1e9)
    for _ in range(100):
        waits(policy)


def test_who_would_wait_for_too_long_is_told_at_once():
    policy = shedder(1e9)
    now = queue_that_drains(policy, 20.0, 0.9)
    for _ in range(37):
        waits(policy, at=now)
    policy.shed.clear()
    while not policy.shed:
        with contextlib.suppress(Shed):
            waits(policy, at=now)
    assert policy.shed == {("expected_wait", DEFAULT): 1}
    assert policy.waiting == pytest.approx(2.0 * 20.0, abs=4)
    assert refused(policy, SHEDDABLE, at=now).cause == "expected_wait"
    waits(policy, CRITICAL, at=now)  # those are not ahead of it


def test_who_has_little_time_is_told_sooner():
    policy = shedder(1e9)
    now = queue_that_drains(policy, 20.0, 0.9)
    for _ in range(5):
        waits(policy, at=now)
    assert refused(policy, at=now, deadline=now + 0.1).cause == "expected_wait"
    waits(policy, at=now, deadline=now + 1.0)


def test_where_nothing_moves_few_wait():
    policy = shedder(1e9)
    waits(policy, at=0.0, room=FULL)
    waits(policy, at=0.5, room=FULL)
    waits(policy, at=0.5, room=FULL)
    waits(policy, at=0.5, room=FULL)
    waits(policy, at=0.5, room=FULL)
    assert refused(policy, at=0.52, room=FULL).cause == "expected_wait"


def test_a_queue_of_long_ago_is_forgotten():
    policy = shedder(1e9)
    now = queue_that_drains(policy, 1.0, 8.0)
    assert next_up(policy, now) is None  # the last one has no room
    (line,) = policy._lines.values()
    policy.leave(line.first(DEFAULT, now), now)
    for _ in range(20):
        waits(policy, at=now + 60.0)


def test_another_route_is_not_judged_by_it():
    policy = shedder(1e9)
    waits(policy, at=0.0, room=FULL)
    for _ in range(20):
        waits(policy, at=5.0, room=FULL, route=Route("other", ()))


def test_in_a_standing_queue_few_wait_but_one_always_may():
    policy = shedder(1e9)
    now = queue_that_drains(policy, 100.0, 5.0)  # one waits
    for _ in range(4):
        waits(policy, at=now)
    waits(policy, at=now)
    assert refused(policy, at=now).cause == "expected_wait"  # 6 / 100 s > 50 ms
    slow = shedder(1e9)
    now = queue_that_drains(slow, 2.0, 20.0)
    waits(slow, at=now)
    assert refused(slow, at=now).cause == "expected_wait"


def test_a_queue_that_stands_below_it_does_not_keep_a_call_out():
    policy = shedder(1e9)
    now = queue_that_drains(policy, 100.0, 5.0, SHEDDABLE)
    for _ in range(50):
        waits(policy, DEFAULT, at=now)


# --- progressive ---


@pytest.mark.parametrize(
    ("tokens", "turned_away"),
    [
        (800, []),
        (900, []),
        (924, []),
        (928, [BATCH]),
        (958, [BATCH]),
        (960, [BATCH, SHEDDABLE]),
        (1000, [BATCH, SHEDDABLE]),
        (5000, [BATCH, SHEDDABLE]),
    ],
)
def test_as_the_tokens_run_out_the_lower_priorities_go_first(tokens, turned_away):
    policy = shedder(1000)
    assert enters(policy, tokens)
    for priority in Priority:
        if priority in turned_away:
            with pytest.raises(Shed) as shed:
                enters(policy, 1, priority)
            assert (shed.value.cause, shed.value.retry_after) == ("progressive", 1.0)
        else:
            enters(policy, 0, priority)
    assert policy.shed == {("progressive", priority): 1 for priority in turned_away}


@pytest.mark.parametrize(
    ("ahead", "turned_away"),
    [(30, []), (32, [BATCH]), (39, [BATCH]), (41, [BATCH, SHEDDABLE]), (49, [BATCH, SHEDDABLE])],
)
def test_as_a_standing_queue_fills_the_lower_priorities_go_first(ahead, turned_away):
    policy = shedder(1e9)
    now = queue_that_drains(policy, 1000.0, 5.0)  # 50 may wait
    for _ in range(ahead - 1):
        waits(policy, at=now)
    for priority in (BATCH, SHEDDABLE, DEFAULT):
        if priority in turned_away:
            assert refused(policy, priority, at=now).cause == "progressive"
        else:
            policy.leave(waits(policy, priority, at=now), now)


def test_a_queue_that_does_not_stand_turns_nobody_away_by_rank():
    policy = shedder(1e9)
    for _ in range(99):
        waits(policy, CRITICAL)
    waits(policy, BATCH)


# --- time ---


def test_who_has_waited_for_its_time_is_out():
    policy = shedder(timeout=0.8)
    waiter = waits(policy, at=10.0)
    assert not policy.expire(waiter, 10.79)
    assert policy.expire(waiter, 10.8)
    assert policy.waiting == 0


def test_nobody_waits_past_its_deadline():
    policy = shedder()
    waiter = waits(policy, at=10.0, deadline=10.3)
    assert not policy.expire(waiter, 10.29)
    assert policy.expire(waiter, 10.3)


def test_in_a_standing_queue_the_time_is_shorter():
    policy = shedder(1e9, timeout=60.0)
    now = queue_that_drains(policy, 100.0, 10.0)
    waiter = waits(policy, at=now)
    assert not policy.expire(waiter, now + 0.9)
    assert policy.expire(waiter, now + 1.3)


def test_who_may_go_is_not_turned_away_any_more():
    policy = shedder(timeout=1.0)
    waiter = waits(policy)
    assert list(policy.call_up(0.5)) == [waiter]
    assert not policy.expire(waiter, 5.0)
    policy.put_back(waiter)
    assert policy.expire(waiter, 5.0)


def test_a_client_is_told_when_those_ahead_will_be_gone():
    policy = shedder(1e9, length=40, timeout=60.0)
    now = queue_that_drains(policy, 10.0, 0.9)
    while policy.waiting < 40:
        waits(policy, at=now)
    shed = refused(policy, at=now)
    assert shed.cause == "queue_full"
    assert shed.retry_after == pytest.approx(41 / 10.0, rel=0.15)
    assert "try again in 4 s" in shed.message or "try again in 5 s" in shed.message
    assert policy.refusal("queue_timeout", CRITICAL, None, now).retry_after == pytest.approx(1.0)


def test_no_client_is_told_more_than_a_minute():
    policy = shedder(length=1, timeout=600.0)
    waits(policy, at=0.0, room=FULL)
    assert refused(policy, at=500.0).retry_after == pytest.approx(60.0)


# --- as told to people ---


def test_it_describes_itself():
    policy = shedder(1000, length=2)
    assert enters(policy, 300)
    waits(policy, DEFAULT, room=FULL)
    waits(policy, BATCH, room=FULL, pin="a,b")
    refused(policy, BATCH)
    policy.join(call_of(CRITICAL), ROUTE, 100, FULL, 600.0, 1.5)
    policy.refusal("queue_evicted", BATCH, None, 1.5)
    assert policy.describe(1.5) == {
        "enabled": True,
        "tokens_in_flight": 300,
        "max_tokens_in_flight": 1000,
        "waiting": {"batch": 0, "sheddable": 0, "default": 1, "critical": 1},
        "queues": [
            {
                "model": "m",
                "providers": None,
                "waiting": 2,
                "drained_per_second": pytest.approx(1 / 1.5),
                "standing_since": 1.5,
            }
        ],
        "shed": {"queue_evicted": {"batch": 1}, "queue_full": {"batch": 1}},
    }


def test_lines_that_nobody_waits_in_are_forgotten():
    policy = shedder()
    for number in range(1000):
        policy.leave(waits(policy, at=float(number), route=Route(f"m{number}", ())), float(number))
    assert len(policy._lines) < 10


# --- whatever happens ---


class Ledger:
    """A gateway of two routes, with what runs and what waits written down beside it."""

    MOST, LENGTH = 1000, 5

    def __init__(self) -> None:
        self.policy = shedder(self.MOST, length=self.LENGTH)
        self.running: list[int] = []
        self.waiting: list[Waiter] = []
        self.rooms = {"a": Room(), "b": Room()}
        self.now = 0.0

    def enter(self, call: Call, model: str, tokens: int) -> None:
        if self.policy.enter(call, Route(model, ()), tokens, self.rooms[model], self.now):
            assert self.rooms[model].left
            self.running.append(tokens)

    def join(self, call: Call, model: str, tokens: int) -> None:
        deadline = self.now + 1.0
        waiter, evicted = self.policy.join(call, Route(model, ()), tokens, self.rooms[model], deadline, self.now)
        self.waiting.append(waiter)
        if evicted is not None:
            assert evicted.priority < waiter.priority
            self.waiting.remove(evicted)

    def release(self, *_: object) -> None:
        if self.running:
            self.policy.release(self.running.pop())

    def call_up(self, call: Call, _model: str, tokens: int) -> None:
        for waiter in list(self.policy.call_up(self.now)):
            assert waiter.has_room()
            if tokens % 3:
                self.policy.arrive(waiter, self.now)
                self.running.append(waiter.tokens)
                self.waiting.remove(waiter)
            else:
                self.policy.put_back(waiter)

    def leave(self, *_: object) -> None:
        if self.waiting:
            self.policy.leave(self.waiting.pop(), self.now)

    def expire(self, *_: object) -> None:
        self.waiting = [waiter for waiter in self.waiting if not self.policy.expire(waiter, self.now)]

    def check(self) -> None:
        assert self.policy.tokens == sum(self.running)
        assert self.policy.tokens <= self.MOST or len(self.running) == 1
        assert self.policy.waiting == len(self.waiting) <= self.LENGTH


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "join", "join", "release", "call_up", "leave", "expire"]),
        st.sampled_from(Priority),
        st.sampled_from("ab"),
        st.integers(1, 600),
        st.floats(0.0, 1.0),
    ),
    max_size=80,
)


@examples(300)
@given(STEPS)
def test_tokens_and_places_are_kept_whatever_happens(steps):
    ledger = Ledger()
    for step, priority, model, tokens, share in steps:
        ledger.now += share / 4
        ledger.rooms[model].left = share < 0.7
        with contextlib.suppress(Shed):
            getattr(ledger, step)(call_of(priority), model, tokens)
        ledger.check()
    while ledger.waiting:
        ledger.leave()
    while ledger.running:
        ledger.release()
    assert (ledger.policy.tokens, ledger.policy.waiting) == (0, 0)
    assert next_up(ledger.policy, ledger.now) is None
