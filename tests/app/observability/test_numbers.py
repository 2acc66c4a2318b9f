"""Histograms put a value where Prometheus expects it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from props import examples

from app.observability.numbers import Histogram, counter, histogram


def test_a_bound_belongs_to_the_bucket_below_it() -> None:
    seen = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.1):
        seen.observe(value)
    assert (seen.counts, seen.count, round(seen.sum, 3)) == ([2, 2, 1], 5, 7.1)


@examples(200)
@given(st.lists(st.floats(0, 1e6)), st.lists(st.floats(0, 1e6), unique=True).map(sorted))
def test_every_bucket_holds_what_is_not_above_its_bound(values: list[float], bounds: list[float]) -> None:
    seen = Histogram(bounds)
    for value in values:
        seen.observe(value)
    ordered = sorted(values)
    for place, bound in enumerate(bounds):
        at_most = len([value for value in ordered if value <= bound])
        assert sum(seen.counts[: place + 1]) == at_most
    assert seen.count == len(values)


def test_one_cell_for_each_combination_of_labels() -> None:
    family = counter("c", "Text.", "a", "b")
    family.at("1", "2").value += 1
    assert family.at("1", "2") is family.at("1", "2")
    family.at("2", "1").value += 5
    assert {values: cell.value for values, cell in family.cells.items()} == {("1", "2"): 1, ("2", "1"): 5}


def test_histograms_of_a_family_do_not_share_their_buckets() -> None:
    family = histogram("h", "Text.", (1.0,), "a")
    family.at("1").observe(0.5)
    assert family.at("2").counts == [0, 0]
