from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from router.sim.results import Called, Results, Second


def called(arrived: float, seconds: float = 1.0, reason: str = "ok", *, calls: int = 1, attempts: int = 1) -> Called:
    ok = reason == "ok"
    began = arrived + seconds / 2 if ok else None
    return Called(arrived, began, arrived + seconds, ok, calls, attempts, reason, "a/m" if ok else None)


def results(*calls: Called) -> Results:
    made = Results()
    for call in calls:
        made.add(call)
    return made


THREE = results(called(0.0), called(1.0, reason="exhausted", calls=3, attempts=9), called(2.5, 3.0, attempts=2))

requests = st.builds(
    called,
    st.floats(0.0, 100.0),
    st.floats(0.0, 50.0),
    st.sampled_from(["ok", "exhausted", "overloaded"]),
    calls=st.integers(1, 9),
    attempts=st.integers(0, 99),
)


@examples(100)
@given(st.lists(requests))
def test_what_is_added_is_what_is_there(calls):
    made = results(*calls)
    assert list(made) == calls
    assert len(made) == len(calls)


def test_figures_are_of_those_that_came_in_time():
    assert THREE.goodput(0, 10) == pytest.approx(2 / 3)
    assert THREE.goodput(0, 2.5) == pytest.approx(1 / 2)
    assert THREE.amplification(0, 10) == pytest.approx(4.0)
    assert THREE.insistence(1, 10) == pytest.approx(2.0)
    assert THREE.reasons(0, 10) == {"ok": 2, "exhausted": 1}
    assert THREE.share("a/m", 0, 10) == pytest.approx(1.0)
    assert THREE.share("b/m", 0, 10) == 0


def test_quantiles_are_of_those_that_were_served():
    assert THREE.quantile(0.5, 0, 10) == pytest.approx(1.0)
    assert THREE.quantile(0.51, 0, 10) == pytest.approx(3.0)
    assert THREE.quantile(1.0, 0, 10, of="first") == pytest.approx(1.5)
    assert THREE.quantile(0.0, 0, 10) == pytest.approx(1.0)


def test_where_nothing_came_there_are_no_figures():
    for figure in (THREE.goodput, THREE.amplification, THREE.insistence):
        assert math.isnan(figure(50, 60))
    assert math.isnan(THREE.quantile(0.5, 1, 2))
    assert math.isnan(THREE.share("a/m", 1, 2))


def test_a_series_has_every_second_until_the_last():
    assert THREE.series() == [Second(0, 1, 1, 1), Second(1, 1, 0, 9), Second(2, 1, 1, 2)]
    assert THREE.series(2.0) == [Second(0, 2, 1, 10), Second(2, 1, 1, 2)]
    assert results(called(2.0)).series()[:2] == [Second(0, 0, 0, 0), Second(1, 0, 0, 0)]


@pytest.mark.parametrize(
    ("served", "after", "to", "recovered"),
    [
        ("1100111", 0, 1.0, 4),
        ("1100111", 5, 1.0, 5),
        ("1100110", 2, 1.0, None),
        ("1111111", 0, 1.0, 0),
        ("11..000", 0, 1.0, None),
        ("00..111", 1, 1.0, 4),
    ],
)
def test_it_has_recovered_when_it_stays_up(served, after, to, recovered):
    calls = [called(at, reason="ok" if mark == "1" else "bad") for at, mark in enumerate(served) if mark != "."]
    assert results(*calls).recovered(after, to) == recovered
