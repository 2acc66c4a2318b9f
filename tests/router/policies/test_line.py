from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import call_for

from router.policies.line import PATIENCE, STANDS_AFTER, TARGET, Line, Waiter
from router.types import Priority

BATCH, SHEDDABLE, DEFAULT, CRITICAL = Priority


def joined(line: Line, at: float, priority: Priority = DEFAULT, expires: float = math.inf) -> Waiter:
    waiter = Waiter(call_for()._replace(priority=priority), line, 100, lambda: True, at, expires)
    line.join(waiter)
    return waiter


def drained(line: Line, per_second: float, seconds: float, start: float = 0.0) -> float:
    """Keep one waiting, and have one go at this rate. The result is the time."""
    now, waiter = start, joined(line, start)
    for _ in range(int(per_second * seconds)):
        now += 1 / per_second
        following = joined(line, now)
        line.leave(waiter, now, served=True)
        waiter = following
    line.leave(waiter, now, served=False)
    return now


# --- order ---


def test_first_come_first_served():
    line = Line()
    first, second = joined(line, 0.0), joined(line, 0.1)
    assert line.first(DEFAULT, 0.2) is first
    line.leave(first, 0.2, served=True)
    assert line.first(DEFAULT, 0.3) is second


def test_while_a_queue_stands_the_newest_goes_first():
    line = Line()
    first, second = joined(line, 0.0), joined(line, 0.9)
    assert line.first(DEFAULT, 0.99) is first
    assert line.first(DEFAULT, 1.01) is second


def test_who_is_called_already_is_passed_over_and_keeps_its_place():
    line = Line()
    first, second = joined(line, 0.0), joined(line, 0.1)
    first.called = True
    assert line.first(DEFAULT, 0.2) is second
    assert line.ahead(DEFAULT) == 2
    first.called = False
    assert line.first(DEFAULT, 0.2) is first


def test_each_priority_has_its_own_first_and_newest():
    line = Line()
    waiters = {priority: [joined(line, 0.0, priority), joined(line, 0.1, priority)] for priority in Priority}
    for priority, (first, newest) in waiters.items():
        assert line.first(priority, 0.2) is first
        assert line.newest(priority) is newest
        assert line.ahead(priority) == 2 * (4 - priority)
        assert line.waiting(priority) == 2
    assert Line().first(DEFAULT, 0.0) is None
    assert Line().newest(DEFAULT) is None


# --- standing ---


def test_a_queue_that_is_never_empty_stands_after_a_second():
    line = Line()
    joined(line, 5.0)
    assert not line.stands(DEFAULT, 5.0 + 0.99 * STANDS_AFTER)
    assert line.stands(DEFAULT, 5.0 + 1.01 * STANDS_AFTER)
    assert line.standing_since == pytest.approx(5.0 + 1.01 * STANDS_AFTER)


def test_a_queue_that_is_empty_for_moments_stands_too():
    line, now = Line(), 0.0
    for _ in range(40):  # filled for 9 tenths of the time
        waiter = joined(line, now)
        line.leave(waiter, now + 0.09, served=True)
        now += 0.1
    assert line.stands(DEFAULT, now)


def test_a_queue_that_is_filled_for_moments_does_not_stand():
    line, now = Line(), 0.0
    for _ in range(40):  # filled for 3 tenths of the time
        waiter = joined(line, now)
        line.leave(waiter, now + 0.03, served=True)
        now += 0.1
        assert not line.stands(DEFAULT, now)


def test_an_empty_queue_does_not_stand_for_long():
    line = Line()
    waiter = joined(line, 0.0)
    line.leave(waiter, 60.0, served=True)
    assert line.stands(DEFAULT, 60.0)
    assert not line.stands(DEFAULT, 60.5)
    assert line.standing_since is None


def test_what_waits_below_does_not_count():
    line = Line()
    joined(line, 0.0, SHEDDABLE)
    critical = joined(line, 2.0, CRITICAL)
    assert [line.stands(priority, 2.5) for priority in Priority] == [True, True, False, False]
    line.leave(critical, 2.6, served=True)
    assert [line.stands(priority, 60.0) for priority in Priority] == [True, True, False, False]


def test_a_line_is_forgotten_only_when_nobody_waits_and_it_was_calm_for_a_while():
    line = Line()
    waiter = joined(line, 0.0)
    assert not line.forgotten(100.0)
    line.leave(waiter, 100.0, served=True)
    assert not line.forgotten(101.0)
    assert line.forgotten(110.0)


# --- the rate ---


def test_of_a_queue_that_nothing_is_known_of_anything_may_be_hoped():
    line = Line()
    assert line.rate(0.0) == math.inf
    joined(line, 1.0)
    assert line.rate(1.0) == math.inf
    assert line.target(1.0) == TARGET


def test_the_rate_falls_as_long_as_nothing_moves():
    line = Line()
    joined(line, 0.0)
    rates = [line.rate(seconds) for seconds in (0.1, 0.5, 1.0, 2.0)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(10.0, rel=0.02)
    assert rates[2] == pytest.approx(1.0, rel=0.15)
    assert line.rate(60.0) == pytest.approx(1 / 60, rel=0.01)


def test_the_rate_falls_too_where_much_has_moved():
    line = Line()
    now = drained(line, 100.0, 30.0)
    joined(line, now)
    assert line.rate(now + 60.0) < 0.3


@pytest.mark.parametrize("per_second", [1.0, 20.0, 1000.0])
def test_the_rate_is_what_was_drained(per_second):
    line = Line()
    now = drained(line, per_second, 30.0)
    assert line.rate(now) == pytest.approx(per_second, rel=0.15)


def test_the_rate_is_of_late():
    line = Line()
    now = drained(line, 100.0, 30.0)
    now = drained(line, 10.0, 15.0, now)
    assert line.rate(now) == pytest.approx(10.0, rel=0.6)


def test_time_without_a_queue_says_nothing_about_the_rate():
    """A gateway that is half idle drains its queue, once there is one, as fast as ever."""
    line = Line()
    rng, now = Random(7), 0.0
    for _ in range(2000):
        waiter = joined(line, now)
        now += rng.expovariate(50.0)
        line.leave(waiter, now, served=True)
        now += rng.expovariate(25.0)
    assert line.rate(now) == pytest.approx(50.0, rel=0.35)


def test_who_leaves_or_is_turned_away_was_not_drained():
    line = Line()
    joined(line, 0.0)
    for _ in range(50):
        line.leave(joined(line, 1.0), 1.0, served=False)
    assert line.rate(2.0) < 1.0


def test_the_target_is_never_less_than_what_one_takes_to_drain():
    line = Line()
    assert line.target(drained(line, 2.0, 30.0)) == pytest.approx(0.5, rel=0.2)
    line = Line()
    assert line.target(drained(line, 1000.0, 30.0)) == TARGET


# --- when its time is over ---


def test_one_may_wait_until_it_expires():
    line = Line()
    drained(line, 100.0, 0.5)
    waiter = joined(line, 10.0, expires=10.4)
    assert line.due(waiter, 10.0) == pytest.approx(10.4)


def test_while_a_queue_stands_the_time_is_shorter():
    line = Line()
    now = drained(line, 100.0, 30.0)
    waiter = joined(line, now, expires=now + 60.0)
    assert line.due(waiter, now) == pytest.approx(now + PATIENCE * TARGET)


def test_before_it_stands_nobody_has_waited_for_too_long():
    line = Line()
    waiter = joined(line, 0.0, expires=60.0)
    due = line.due(waiter, 0.0)
    assert not line.stands(DEFAULT, 0.99 * due)
    assert line.stands(DEFAULT, 1.01 * due)


def test_where_little_moves_one_may_wait_for_longer():
    line = Line()
    now = drained(line, 2.0, 30.0)
    waiter = joined(line, now, expires=now + 60.0)
    assert line.due(waiter, now) == pytest.approx(now + PATIENCE / 2.0, rel=0.2)


@examples(100)
@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.sampled_from(Priority), st.booleans())))
def test_whatever_happens_every_figure_makes_sense(steps):
    line, now, waiters = Line(), 0.0, []
    for seconds, priority, leaves in steps:
        now += seconds
        if leaves and waiters:
            line.leave(waiters.pop(), now, served=priority > SHEDDABLE)
        else:
            waiters.append(joined(line, now, priority, now + 2.0))
        assert line.rate(now) > 0
        assert TARGET <= line.target(now) < math.inf
        assert line.ahead(BATCH) == len(waiters)
        for waiter in waiters:
            assert waiter.arrived <= line.due(waiter, now) <= waiter.expires
        if line.ahead(DEFAULT):
            assert line.describe(now)["waiting"] >= line.ahead(DEFAULT)
