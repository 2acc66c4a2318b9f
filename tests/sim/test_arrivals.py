from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from router.sim.arrivals import poisson, ramp, regular, steps, varying


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
    ("rate", "most", "expected"),
    [
        (ramp(0.0, 100.0, 100.0), 100.0, 5_000),
        (steps((0.0, 20.0), (50.0, 80.0)), 80.0, 5_000),
        (steps((90.0, 50.0)), 50.0, 500),
    ],
    ids=["ramp", "step up", "nothing before the first"],
)
def test_a_rate_that_changes_is_followed(rate, most, expected):
    times = list(varying(rate, most, 100.0, Random(7)))
    assert len(times) == pytest.approx(expected, abs=4.5 * expected**0.5)
    late = sum(now >= 50.0 for now in times)
    wanted = sum(rate(50.0 + tenth / 10) / 10 for tenth in range(500))
    assert late == pytest.approx(wanted, abs=4.5 * wanted**0.5)


@examples(100)
@given(st.integers(0, 2**32), st.floats(0.1, 200.0), st.floats(0.1, 20.0))
def test_they_rise_and_end_in_time(seed, rate, seconds):
    for times in (list(regular(rate, seconds)), list(poisson(rate, seconds, Random(seed)))):
        assert times == sorted(times)
        assert all(0.0 <= now < seconds for now in times)
