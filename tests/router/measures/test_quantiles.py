from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from router.measures.quantiles import Quantiles


def filled(values, size=128, least=20) -> Quantiles:
    quantiles = Quantiles(size, least)
    for value in values:
        quantiles.add(value)
    return quantiles


def test_of_nothing_there_is_no_quantile_and_no_smallest():
    assert Quantiles().quantile(0.5) is None
    assert Quantiles().quantile(0.0) is None
    assert Quantiles().count == 0


def test_too_few_samples_say_nothing_but_which_is_the_smallest():
    few = filled(range(7, 26))
    assert (few.count, few.quantile(0.5), few.quantile(1.0)) == (19, None, None)
    assert few.quantile(0.0) == 7
    assert filled(range(7, 27)).quantile(0.5) == 16


@pytest.mark.parametrize(
    ("q", "value"),
    [(0.0, 1), (0.001, 1), (0.5, 50), (0.75, 75), (0.95, 95), (0.99, 99), (1.0, 100)],
)
def test_a_quantile_is_the_sample_of_the_nearest_rank(q, value):
    assert filled(range(100, 0, -1)).quantile(q) == value


def test_only_the_latest_count():
    quantiles = filled([100.0] * 50 + [1.0] * 8, size=8, least=1)
    assert quantiles.count == 8
    assert quantiles.quantile(1.0) == pytest.approx(1.0)


def test_it_is_sorted_again_only_when_an_eighth_is_new():
    quantiles = filled([1.0] * 128)
    assert quantiles.quantile(0.0) == pytest.approx(1.0)
    before = quantiles._sorted
    for _ in range(15):
        quantiles.add(0.5)
        assert quantiles.quantile(0.0) == pytest.approx(1.0)
    assert quantiles._sorted is before
    quantiles.add(0.5)
    assert quantiles.quantile(0.0) == pytest.approx(0.5)


@examples(200)
@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.floats(0, 1e3), st.none() | st.floats(0, 1)), min_size=1, max_size=150),
)
def test_an_answer_is_exact_for_the_samples_of_a_moment_ago(size, steps):
    quantiles = Quantiles(size, least=1)
    moments: list[list[float]] = []
    for value, q in steps:
        quantiles.add(value)
        moments.append(sorted([*(step for step, _ in steps[: len(moments) + 1])][-size:]))
        if q is not None:
            old = ceil(quantiles.count / 8) - 1
            known = [moment[max(1, ceil(q * len(moment))) - 1] for moment in moments[-1 - old :]]
            assert quantiles.quantile(q) in known
