from __future__ import annotations

import math
from random import Random
from statistics import fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from providers.law import Law


@pytest.mark.parametrize(
    ("value", "law"),
    [
        (3, Law("constant", 3.0)),
        (0.5, Law("constant", 0.5)),
        (0, Law("constant", 0.0)),
        ({"lognormal": [0.2, 0.5]}, Law("lognormal", 0.2, 0.5)),
        ({"uniform": [1, 2]}, Law("uniform", 1.0, 2.0)),
        ({"uniform": [2, 2]}, Law("uniform", 2.0, 2.0)),
        ({"exponential": 4}, Law("exponential", 4.0)),
        ({"exponential": [4]}, Law("exponential", 4.0)),
        ({"normal": [1, 0]}, Law("normal", 1.0, 0.0)),
        ({"pareto": [1, 1.5]}, Law("pareto", 1.0, 1.5)),
        (Law("normal", 1.0, 0.1), Law("normal", 1.0, 0.1)),
    ],
    ids=repr,
)
def test_what_may_be_written_for_a_distribution(value, law):
    assert Law.parse(value) == law


@pytest.mark.parametrize(
    "value",
    [
        None,
        "3",
        True,
        -1,
        math.nan,
        math.inf,
        [1, 2],
        {},
        {"constant": 3},
        {"zipf": [1, 2]},
        {"uniform": 1},
        {"uniform": [1]},
        {"uniform": [1, 2, 3]},
        {"uniform": [-1, 2]},
        {"uniform": [1, "2"]},
        {"uniform": [True, 2]},
        {"exponential": [1, 2]},
        {"normal": [1, math.inf]},
        {"pareto": 1},
        {"uniform": [1, 2], "normal": [1, 2]},
        {3: [1, 2]},
    ],
    ids=repr,
)
def test_anything_else_is_refused_with_the_list_of_what_may(value):
    with pytest.raises(ValueError, match=r"allowed: a number >= 0, \{lognormal: \[median, sigma\]\}, .*normal"):
        Law.parse(value)


def test_a_uniform_law_upside_down_is_named():
    with pytest.raises(ValueError, match="low is above high"):
        Law.parse({"uniform": [2, 1]})


def test_a_tail_too_heavy_to_be_simulated_is_named():
    with pytest.raises(ValueError, match=r"pareto: an alpha below 0\.5"):
        Law.parse({"pareto": [1, 0.4]})


SMALL = st.floats(0, 20)
LAWS = st.one_of(
    SMALL,
    st.tuples(SMALL, st.floats(0, 5)).map(lambda pair: {"lognormal": list(pair)}),
    st.tuples(SMALL, SMALL).map(lambda pair: {"normal": list(pair)}),
    st.tuples(SMALL, SMALL).map(lambda pair: {"uniform": sorted(pair)}),
    SMALL.map(lambda mean: {"exponential": mean}),
    st.tuples(SMALL, st.floats(0.5, 20)).map(lambda pair: {"pareto": list(pair)}),
)


@examples(200)
@given(LAWS, st.integers())
def test_draws_are_finite_never_negative_and_the_same_for_the_same_chance(value, seed):
    law = Law.parse(value)
    drawn = [law.draw(Random(seed)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert 0 <= drawn[0] < math.inf


@pytest.mark.parametrize(
    ("law", "measure", "expected"),
    [
        (Law("constant", 3.0), fmean, 3.0),
        (Law("lognormal", 0.2, 0.5), median, 0.2),
        (Law("lognormal", 0.2, 0.5), fmean, 0.2 * math.exp(0.125)),
        (Law("uniform", 1.0, 3.0), fmean, 2.0),
        (Law("exponential", 4.0), fmean, 4.0),
        (Law("normal", 10.0, 1.0), fmean, 10.0),
        (Law("pareto", 2.0, 3.0), fmean, 3.0),
        (Law("pareto", 2.0, 1.0), median, 4.0),
    ],
    ids=str,
)
def test_parameters_mean_what_their_names_say(law, measure, expected):
    rng = Random(1)
    assert measure([law.draw(rng) for _ in range(20_000)]) == pytest.approx(expected, rel=0.03)


@examples(200)
@given(LAWS, st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_what_is_exceeded_less_often_is_larger(value, one, other):
    law = Law.parse(value)
    assert law.at(min(one, other)) <= law.at(max(one, other)) < math.inf


def test_a_law_with_a_parameter_of_nothing_draws_nothing():
    assert Law("exponential", 0.0).draw(Random(1)) == 0
    assert Law("lognormal", 0.0, 1.0).draw(Random(1)) == 0
