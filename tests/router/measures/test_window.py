from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from router.measures.window import Window

A, B = range(2)


def window() -> Window:
    """Three slices of two seconds."""
    return Window(6.0, 3, 2)


def test_it_is_empty_at_first():
    assert window().totals == [0, 0]
    assert window().total(1e6, A) == 0


def test_each_counter_counts_for_itself():
    counted = window()
    counted.add(0.0, A)
    counted.add(1.0, A)
    counted.add(3.0, B, 5)
    assert (counted.total(3.0, A), counted.total(3.0, B)) == (2, 5)


@pytest.mark.parametrize(
    ("counted_at", "now", "total"),
    [(0.0, 5.999, 1), (0.0, 6.0, 0), (1.999, 5.999, 1), (1.999, 6.0, 0), (2.0, 7.999, 1), (2.0, 8.0, 0), (5.0, 1e9, 0)],
)
def test_a_slice_is_forgotten_as_a_whole(counted_at, now, total):
    counted = window()
    counted.add(counted_at, A)
    assert counted.total(now, A) == total


def test_only_the_oldest_slice_is_forgotten():
    counted = window()
    for second in range(6):
        counted.add(float(second), A)
    assert [counted.total(float(now), A) for now in range(6, 12)] == [4, 4, 2, 2, 0, 0]


def test_time_that_goes_back_counts_in_the_present_slice():
    counted = window()
    counted.add(4.0, A)
    counted.add(3.9, A)
    assert counted.total(3.0, A) == 2
    assert counted.total(9.9, A) == 2
    assert counted.total(10.0, A) == 0


def test_what_is_taken_back_has_never_been():
    counted = window()
    first, second = counted.add(0.0, A), counted.add(2.0, A)
    counted.add(2.5, B)
    counted.take_back(first, A)
    assert counted.total(5.9, A) == 1
    counted.take_back(second, A)
    assert [counted.total(now, A) for now in (5.9, 6.0, 8.0)] == [0, 0, 0]
    assert counted.total(5.9, B) == 0  # that had gone with its slice


def test_what_is_forgotten_cannot_be_taken_back():
    counted = window()
    place = counted.add(0.0, A)
    counted.add(6.0, A)  # in the same place of the ring
    counted.take_back(place, A)
    assert counted.total(6.0, A) == 1


def test_what_was_counted_late_is_taken_back_from_where_it_was_counted():
    counted = window()
    counted.add(4.0, A)
    counted.take_back(counted.add(1.0, A), A)
    assert [counted.total(now, A) for now in (4.0, 9.9, 10.0)] == [1, 1, 0]


STEPS = st.tuples(
    st.sampled_from(["add", "take_back", "look"]),
    st.one_of(st.floats(0, 2), st.floats(-1, 0), st.floats(0, 60), st.sampled_from([0.1, 0.25, 7.0])),
    st.sampled_from([A, B]),
    st.integers(-3, 9),
)


@given(st.lists(STEPS, max_size=60), st.floats(0.1, 100), st.integers(1, 31), st.floats(0, 1e7))
@examples(400)
def test_it_agrees_with_a_list_of_everything(steps, seconds, slices, start):
    counted = Window(seconds, slices, 2)
    pace = slices / seconds
    everything: list[tuple[int, int, int]] = []  # slice, counter, amount
    now, newest = start, -1
    for what, step, counter, amount in steps:
        now = max(0.0, now + step)
        newest = max(newest, int(now * pace))
        if what == "add":
            number = counted.add(now, counter, amount)
            # Where two slices meet, the last bit of a float decides.
            assert number == newest or (number == newest - 1 and now * pace - newest < 1e-6)
            everything.append((number, counter, amount))
        elif what == "take_back" and everything:
            counted.take_back(*everything.pop(0))
        for each in (A, B):
            expected = sum(entry[2] for entry in everything if entry[0] > newest - slices and entry[1] == each)
            assert counted.total(now, each) == expected
            assert counted.totals[each] == sum(one[each] for one in counted._slices)
