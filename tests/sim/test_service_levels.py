from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from router.sim.levels import Levels

STEPS = Levels.steps((0.0, 2.0), (10.0, 0.0), (20.0, 4.0))
RAMP = Levels.ramp(0.0, 10.0, 5.0)


@pytest.mark.parametrize(
    ("levels", "now", "value"),
    [(STEPS, -1, 0), (STEPS, 0, 2), (STEPS, 9.9, 2), (STEPS, 10, 0), (STEPS, 1e9, 4), (RAMP, 2.5, 5), (RAMP, 9, 10)],
)
def test_each_level_holds_until_the_next(levels, now, value):
    assert levels(now) == pytest.approx(value)


@pytest.mark.parametrize(
    ("levels", "amount", "begins", "ends"),
    [
        (STEPS, 0.0, 7.0, 7.0),
        (STEPS, 4.0, 1.0, 3.0),
        (STEPS, 4.0, 9.0, 20.5),  # two before it stops, two after
        (STEPS, 4.0, -5.0, 2.0),
        (STEPS, 4.0, 30.0, 31.0),
        (RAMP, 25.0, 0.0, 5.0),
        (RAMP, 4.0, 0.0, 2.0),
        (RAMP, 35.0, 0.0, 6.0),
        (Levels.ramp(10.0, 0.0, 5.0), 25.0, 0.0, 5.0),
        (Levels.ramp(10.0, 0.0, 5.0), 26.0, 0.0, math.inf),
        (Levels.steps((0.0, 0.0)), 1.0, 0.0, math.inf),
    ],
)
def test_an_amount_is_reached_when_the_area_is_so_large(levels, amount, begins, ends):
    assert levels.reached(amount, begins) == pytest.approx(ends)


points = st.lists(st.tuples(st.floats(0.1, 50.0), st.floats(0.0, 9.0)), min_size=1, max_size=5)


@examples(200)
@given(points, st.booleans(), st.floats(0.0, 100.0), st.floats(0.0, 100.0), st.floats(0.0, 100.0))
def test_two_amounts_one_after_the_other_are_reached_when_both_together_are(gaps, linear, begins, one, two):
    at, rising = 0.0, []
    for gap, value in gaps:
        rising.append((at, value))
        at += gap
    levels = Levels(tuple(rising), linear)
    first = levels.reached(one, begins)
    both = levels.reached(one + two, begins)
    assert first >= begins
    if first < math.inf and both < math.inf and levels(both) > 1e-3:
        assert levels.reached(two, first) == pytest.approx(both, rel=1e-6, abs=1e-4)


@pytest.mark.parametrize("points", [(), ((1.0, 1.0), (1.0, 2.0)), ((2.0, 1.0), (1.0, 2.0)), ((0.0, -1.0),)])
def test_what_is_not_levels_is_refused(points):
    with pytest.raises(ValueError, match="levels: "):
        Levels(points)
