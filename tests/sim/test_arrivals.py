from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from providers.law import Law
from router.sim.arrivals import MOST_TOKENS, Arrival, poisson, regular, regular_varying, varying, with_tokens
from router.sim.levels import Levels


def test_regular_ones_are_one_like_the_other():
    assert list(regular(4.0, 1.5)) == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]


@pytest.mark.parametrize("seed", range(3))
def test_poisson_has_its_rate_its_spread_and_its_seed(seed):
    times = list(poisson(50.0, 400.0, Random(seed)))
    assert times == list(poisson(50.0, 400.0, Random(seed)))
    assert len(times) == pytest.approx(20_000, abs=4.5 * 20_000**0.5)
    gaps = [after - before for before, after in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert spread / mean == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (Levels.ramp(0.0, 100.0, 100.0), 5_000),
        (Levels.steps((0.0, 20.0), (50.0, 80.0)), 5_000),
        (Levels.steps((90.0, 50.0)), 500),
        (Levels.steps((0.0, 0.0)), 0),
    ],
    ids=["ramp", "step up", "nothing before the first", "nothing at all"],
)
def test_a_rate_that_changes_is_followed(rate, expected):
    times = list(varying(rate, 100.0, Random(7)))
    assert len(times) == pytest.approx(expected, abs=4.5 * expected**0.5)
    late = sum(now >= 50.0 for now in times)
    wanted = sum(rate(50.0 + tenth / 10) / 10 for tenth in range(500))
    assert late == pytest.approx(wanted, abs=4.5 * wanted**0.5)


def test_the_same_without_chance():
    rate = Levels.steps((0.0, 2.0), (1.0, 0.0), (3.0, 1.0))
    assert list(regular_varying(rate, 5.5)) == pytest.approx([0.5, 1.0, 4.0, 5.0])
    assert len(list(regular_varying(Levels.ramp(0.0, 100.0, 100.0), 100.0))) == pytest.approx(5_000, abs=1)


def test_calls_have_prompts_and_limits_by_their_laws():
    two = with_tokens([1.0, 2.0], Law("constant", 99.6), Law("constant", 0.2), Random(1), begins=10.0)
    assert list(two) == [Arrival(11.0, 100, 1), Arrival(12.0, 100, 1)]
    assert list(with_tokens([1.0], Law("constant", 5), None, Random(1))) == [Arrival(1.0, 5, None)]


@examples(100)
@given(st.integers(0, 2**32), st.floats(0.1, 200.0), st.floats(0.1, 20.0))
def test_they_rise_and_end_in_time(seed, rate, seconds):
    for times in (list(regular(rate, seconds)), list(poisson(rate, seconds, Random(seed)))):
        assert times == sorted(times)
        assert all(0.0 <= now < seconds for now in times)


def test_what_is_drawn_above_the_longest_counts_as_that():
    (arrival,) = with_tokens([1.0], Law("pareto", 1e300, 0.5), Law("constant", 1e300), Random(1))
    assert arrival == (1.0, MOST_TOKENS, MOST_TOKENS)
