from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import Upstream

from router.select.chance import unit
from router.select.pickers import best, better_of_two, in_proportion
from router.types import Target

CHANCES = [unit(0, f"req-{number}", "pick 1") for number in range(20_000)]
LAST = 1 - 2**-53  # the largest chance there is
# Chi-square, 99.9 %, by degrees of freedom; without any, there is nothing to differ.
CRITICAL = {0: 1e-9, 1: 10.828, 2: 13.816, 3: 16.266, 4: 18.467, 5: 20.515}


def targets_of(weights):
    return [Target(Upstream(str(number)), "m", weight=weight) for number, weight in enumerate(weights)]


def found_in(picker, scores, weights=None):
    """How often each place is picked."""
    targets = targets_of(weights or [1.0] * len(scores))
    picks = Counter(picker(targets, scores, chance).provider.name for chance in CHANCES)
    return [picks[str(place)] for place in range(len(scores))]


def is_met(found, parts):
    """Chi-square of what was found against ``parts``; a part of nothing must be met exactly."""
    expected = [sum(found) * part / sum(parts) for part in parts]
    assert not any(seen for seen, want in zip(found, expected, strict=True) if not want), found
    cells = [(seen, want) for seen, want in zip(found, expected, strict=True) if want]
    return sum((seen - want) ** 2 / want for seen, want in cells) < CRITICAL[len(cells) - 1]


# --- in proportion ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scores", [[70, 30], [1, 1, 1], [5, 3, 2], [1, 2, 3, 4], [90, 5, 3, 1, 1], [0.5, 0, 0.25, 0.25]], ids=str
)
def test_scores_are_met_in_proportion(scores):
    found = found_in(in_proportion, scores)
    assert is_met(found, scores), found


@examples(300)
@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.7, 1.0, 1e-9, 1e9]), min_size=1, max_size=6).filter(any),
    st.sampled_from([0.0, 0.5, LAST]) | st.floats(0, 1, exclude_max=True),
)
def test_a_score_of_nothing_is_never_picked_while_another_has_one(scores, chance):
    assert scores[int(in_proportion(targets_of(scores), scores, chance).provider.name)] > 0


def test_not_even_rounding_picks_a_score_of_nothing():
    """Once the first target was taken unseen where rounding left a rest."""
    scores = [0.0, 0.24081684258044245, 0.9980589215859527, 4.72167056291276e-06, 0.013489082555803989, 0.0]
    assert in_proportion(targets_of(scores), scores, LAST).provider.name == "4"


@pytest.mark.parametrize(
    ("chance", "place"), [(0.0, 0), (0.2499, 0), (0.25, 1), (0.4999, 1), (0.5, 2), (0.9999, 2), (LAST, 2)]
)
def test_chance_is_cut_in_the_order_of_the_targets(chance, place):
    targets = targets_of([1, 1, 2])
    assert in_proportion(targets, [1, 1, 2], chance) is targets[place]


def test_where_all_scores_are_nothing_the_first_is_taken():
    targets = targets_of([1, 1, 1])
    assert in_proportion(targets, [0, 0, 0], 0.99) is targets[0]


# --- the best ---------------------------------------------------------------------------------------------------


@examples(200)
@given(
    st.lists(st.floats(0, 1e9), min_size=1, max_size=8),
    st.integers(0, 7),
    st.sampled_from([0.0, 0.5, LAST]),
)
def test_the_best_is_the_highest_score_at_any_place_and_chance(scores, place, chance):
    place %= len(scores)
    scores[place] = 1e10
    targets = targets_of([1.0] * len(scores))
    assert best(targets, scores, chance) is targets[place]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_litellm_37622_equals_are_picked_uniformly_and_not_by_position(count):
    found = found_in(best, [0.5] * count)
    assert is_met(found, [1] * count), found


def test_equals_are_picked_in_proportion_to_their_weights_and_none_else():
    found = found_in(best, [1.0, 0.9, 1.0, 0.0, 1.0], [3, 200, 1, 200, 6])
    assert is_met(found, [3, 0, 1, 0, 6]), found


def test_among_equals_a_weight_of_nothing_counts_as_one():
    found = found_in(best, [1.0, 1.0], [0, 3])
    assert is_met(found, [1, 3]), found


# --- the better of two ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scores", [[1.0, 2.0], [3.0, 1.0, 2.0], [4.0, 2.0, 1.0, 5.0, 3.0]], ids=str)
def test_the_better_of_two_is_picked_as_often_as_it_meets_a_worse_one(scores):
    """Every pair is as likely as any other, so a target's part is the number of those that are worse."""
    found = found_in(better_of_two, scores)
    assert is_met(found, [sum(other < score for other in scores) for score in scores]), found


@pytest.mark.parametrize("count", [2, 3, 5])
def test_of_two_equals_each_is_as_likely_at_any_position(count):
    found = found_in(better_of_two, [0.5] * count)
    assert is_met(found, [1] * count), found


@examples(300)
@given(st.integers(1, 70), st.sampled_from([0.0, LAST]) | st.floats(0, 1, exclude_max=True))
def test_no_chance_is_out_of_reach_and_the_worst_of_several_is_never_picked(count, chance):
    targets = targets_of([1.0] * count)
    picked = better_of_two(targets, list(range(count)), chance)
    assert picked is targets[0] if count == 1 else picked in targets[1:]
