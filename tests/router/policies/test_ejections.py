from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from router import config
from router.policies.breaker import CLOSED, HALF_OPEN, OPEN, Breaker
from router.policies.ejections import Ejections


def breakers(count: int) -> list[Breaker]:
    return [Breaker(f"b{n}/m", config.Breaker()) for n in range(count)]


def company(of: list[Breaker], share: float) -> Ejections:
    ejections = Ejections(share)
    for breaker in of:
        ejections.join(breaker)
    return ejections


def ejected(of: list[Breaker]) -> int:
    return sum(breaker.ejected for breaker in of)


@pytest.mark.parametrize(
    ("count", "share", "most"),
    [
        (1, 0.5, 1),
        (1, 0.0, 1),
        (2, 0.0, 1),
        (2, 0.5, 1),
        (2, 0.51, 2),
        (2, 1.0, 2),
        (3, 0.33, 1),
        (3, 0.5, 2),
        (4, 0.5, 2),
        (5, 0.5, 3),
        (10, 0.1, 1),
        (10, 0.3, 3),
        (25, 0.28, 7),  # in floats, 0.28 * 25 is more than 7
        (5, 1.0, 5),
    ],
)
def test_one_more_may_go_while_less_than_the_share_are_gone(count, share, most):
    of = breakers(count)
    company(of, share)
    for breaker in of:
        breaker.trip(0.0, "a test")
    assert ejected(of) == most


def test_one_that_is_half_open_is_not_back_yet():
    of = breakers(2)
    ejections = company(of, 0.5)
    first, second = of
    first.trip(0.0, "a test")
    now = first.open_until
    assert first.refusal(None, now) is None
    assert first.state == HALF_OPEN
    assert not ejections.may_eject()
    second.trip(now, "a test")
    assert second.state == CLOSED
    first.trip(now, "its probes failed")  # it has been ejected all the time
    assert (first.state, ejected(of)) == (OPEN, 1)


def test_an_operator_may_eject_more_and_that_counts():
    of = breakers(4)
    ejections = company(of, 0.5)
    for breaker in of[:3]:
        breaker.force_open(0.0, "maintenance")
    assert ejected(of) == 3
    of[3].trip(0.0, "a test")
    assert of[3].state == CLOSED
    of[0].force_close(0.0, "done")
    assert not ejections.may_eject()
    of[1].force_close(0.0, "done")
    assert ejections.may_eject()


def test_all_companies_of_a_breaker_must_agree():
    shared, left, right = of = breakers(3)
    company([shared, left], 0.5)
    company([shared, right], 0.5)
    right.trip(0.0, "a test")
    shared.trip(0.0, "a test")
    assert shared.state == CLOSED
    left.trip(0.0, "a test")
    assert left.state == OPEN
    right.force_close(0.0, "fixed")
    shared.trip(0.0, "a test")
    assert shared.state == CLOSED
    left.force_close(0.0, "fixed")
    shared.trip(0.0, "a test")
    assert [breaker.ejected for breaker in of] == [True, False, False]


def test_a_breaker_that_joins_twice_counts_once():
    of = breakers(2)
    company([of[0], of[0], of[1], of[1]], 0.5)
    assert [len(breaker.companies) for breaker in of] == [1, 1]
    for breaker in of:
        breaker.trip(0.0, "a test")
    assert ejected(of) == 1


def test_one_in_no_company_may_go():
    (alone,) = breakers(1)
    alone.trip(0.0, "a test")
    assert alone.ejected


@given(
    st.lists(st.tuples(st.sets(st.integers(0, 7), min_size=1), st.floats(0, 1)), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["trip", "trip", "close"])), max_size=60),
)
@examples(300)
def test_no_company_ever_loses_more_than_it_may(companies, actions):
    everyone = breakers(8)
    made = [([everyone[n] for n in members], share) for members, share in companies]
    for members, share in made:
        company(members, share)
    for n, action in actions:
        breaker = everyone[n]
        if action == "close":
            breaker.force_close(0.0, "a test")
            continue
        was = breaker.ejected
        allowed = all(
            not ejected(members) or ejected(members) / len(members) < share
            for members, share in made
            if breaker in members
        )
        breaker.trip(0.0, "a test")
        assert breaker.ejected == (was or allowed)
        for members, share in made:
            before_the_last = ejected(members) - 1
            assert before_the_last <= 0 or before_the_last / len(members) < share
