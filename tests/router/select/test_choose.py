from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import Upstream, call_for

from router.errors import UnknownPin
from router.select.chance import unit
from router.select.choose import choose
from router.select.pickers import in_proportion
from router.types import Route, Target

IDS = [f"req-{number}" for number in range(20_000)]


def target(name, weight=1.0, tier=0, model=None):
    return Target(Upstream(name), model, weight=weight, tier=tier)


def pick(targets, *, pin=None, tries=(), barred=(), chance=0.5):
    """The name of the chosen provider; ``tries`` names a provider once for each try."""
    counted = Counter(each for name in tries for each in targets if each.provider.name == name)
    out = {each for each in targets if each.provider.name in barred}
    chosen = choose(call_for(pin=pin), Route("m", tuple(targets)), counted, out, {}, lambda: chance, 0.0).target
    return chosen and chosen.provider.name


def picks(targets, seed=0, ids=IDS):
    route = Route("m", tuple(targets))
    return [
        choose(call_for(), route, {}, (), {}, partial(unit, seed, key, "pick 1"), 0.0).target.provider.name
        for key in ids
    ]


def every_pick(targets, **given_):
    """All that can be picked, whatever the chance."""
    return {pick(targets, chance=step / 97, **given_) for step in range(97)}


# --- weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_seventy_to_thirty_is_seventy_to_thirty(seed):
    heavy = picks([target("a", 70), target("b", 30)], seed).count("a")
    interval = 3.2905 * (20_000 * 0.7 * 0.3) ** 0.5  # 99.9 %, two-sided
    assert abs(heavy - 14_000) < interval, f"seed {seed}: {heavy}"


@pytest.mark.parametrize(
    ("weights", "critical"),  # chi-square, 99.9 %, one degree of freedom less than targets
    [
        ([1, 1, 1], 13.816),
        ([5, 3, 2], 13.816),
        ([1, 2, 3, 4], 16.266),
        ([90, 5, 3, 1, 1], 18.467),
        ([0.5, 0, 0.25, 0.25], 13.816),
    ],
    ids=str,
)
def test_many_weights_are_met(weights, critical):
    found = Counter(picks([target(str(number), weight) for number, weight in enumerate(weights)]))
    share = len(IDS) / sum(weights)
    expected = {str(number): weight * share for number, weight in enumerate(weights) if weight}
    assert found.keys() == expected.keys()
    assert sum((found[name] - want) ** 2 / want for name, want in expected.items()) < critical, found


def test_the_same_seed_and_ids_give_the_same_picks_in_any_order_and_another_seed_gives_others():
    targets, ids = [target("a", 70), target("b", 30)], IDS[:2000]
    first = picks(targets, 7, ids)
    assert first == picks(targets, 7, ids)
    assert first == picks(targets, 7, list(reversed(ids)))[::-1]
    assert first != picks(targets, 8, ids)


@examples(200)
@given(st.lists(st.floats(0, 1e6) | st.just(0.0), min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
def test_no_weight_no_pick(weights, chance):
    targets = [target(str(number), weight) for number, weight in enumerate(weights)]
    chosen = pick(targets, chance=chance)
    assert (chosen is None) == (not any(weights))
    assert chosen is None or weights[int(chosen)] > 0


@examples(300)
@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.7, 1.0, 1e-9, 1e9]), min_size=2, max_size=6).filter(any),
    st.sampled_from([0.0, 0.5]) | st.floats(0, 1 - 1e-9),
)
def test_a_score_of_nothing_is_never_picked_while_another_has_one(scores, chance):
    targets = [target(str(number)) for number in range(len(scores))]
    assert scores[int(in_proportion(targets, scores, chance).provider.name)] > 0


def test_not_even_rounding_picks_a_score_of_nothing():
    """Once the first target was taken unseen where rounding left a rest."""
    scores = [0.0, 0.24081684258044245, 0.9980589215859527, 4.72167056291276e-06, 0.013489082555803989, 0.0]
    targets = [target(str(number)) for number in range(len(scores))]
    assert scores[int(in_proportion(targets, scores, 1 - 2**-53).provider.name)] > 0


@pytest.mark.parametrize(
    ("chance", "name"), [(0.0, "a"), (0.2499, "a"), (0.25, "b"), (0.4999, "b"), (0.5, "c"), (0.9999, "c")]
)
def test_chance_is_cut_in_the_order_of_the_targets(chance, name):
    assert in_proportion([target(name) for name in "abc"], [1, 1, 2], chance).provider.name == name


def test_where_all_scores_are_nothing_the_first_is_taken():
    assert in_proportion([target(name) for name in "abc"], [0, 0, 0], 0.99).provider.name == "a"


# --- tiers, tries, bars -----------------------------------------------------------------------------------------

A, B, C, D = target("a"), target("b"), target("c", tier=1), target("d", tier=2)
OFF = target("off", weight=0)
ALL = [D, C, A, B, OFF]


@pytest.mark.parametrize(
    ("tries", "barred", "possible"),
    [
        ("", "", "ab"),
        ("a", "", "b"),
        ("ab", "", "c"),
        ("abc", "", "d"),
        ("abcd", "", "ab"),
        ("abcda", "", "b"),
        ("abcdab", "", "c"),
        ("", "a", "b"),
        ("", "ab", "c"),
        ("a", "b", "c"),
        ("acd", "b", "a"),
        ("c", "", "ab"),
    ],
)
def test_the_least_tried_come_first_and_among_them_the_lowest_tier(tries, barred, possible):
    assert every_pick(ALL, tries=tries, barred=barred) == set(possible)


@pytest.mark.parametrize("barred", ["abcd", ["a", "b", "c", "d", "off"]])
def test_nothing_left_is_nothing(barred):
    assert pick(ALL, barred=barred) is None
    assert pick([]) is None


@examples(100)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=5), st.integers(0, 2**31))
def test_in_each_round_every_target_has_its_turn_and_lower_tiers_go_first(tiers, seed):
    targets = [target(str(number), tier=tier) for number, tier in enumerate(tiers)]
    route, tries, order = Route("m", tuple(targets)), Counter(), []
    for turn in range(3 * len(targets)):
        chosen = choose(call_for(), route, tries, (), {}, partial(unit, seed, "r", f"pick {turn}"), 0.0).target
        tries[chosen] += 1
        order.append(chosen)
    for start in range(0, len(order), len(targets)):
        turn = order[start : start + len(targets)]
        assert set(turn) == set(targets)
        assert [each.tier for each in turn] == sorted(tiers)


# --- pins -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pin", "tries", "barred", "possible"),
    [
        ("a", "", "", "a"),
        ("a", "a", "", "a"),
        ("a", "aaaa", "", "a"),
        ("a", "", "a", None),
        ("d", "", "", "d"),
        ("d, a", "", "", "d"),
        ("d, a", "d", "", "a"),
        ("d, a", "da", "", "d"),
        ("d, a", "", "d", "a"),
        ("d, a", "", "ad", None),
        ("c, *", "", "", "c"),
        ("c, *", "c", "", "ab"),
        ("c, *", "ca", "", "b"),
        ("c, *", "cab", "", "d"),
        ("c, *", "cabd", "", "c"),
        ("c, d, *", "c", "", "d"),
        ("c, *", "", "abcd", None),
    ],
)
def test_a_pin_is_a_list_in_order_and_only_a_star_lets_others_in(pin, tries, barred, possible):
    assert every_pick(ALL, pin=pin, tries=tries, barred=barred) == (set(possible) if possible else {None})


def test_only_a_pin_by_name_reaches_a_target_without_weight():
    assert every_pick(ALL, pin="off") == {"off"}
    assert every_pick(ALL, pin="off, a") == {"off"}
    for pin, barred in ((None, "abcd"), ("a, *", "abcd")):
        assert every_pick(ALL, pin=pin, barred=barred) == {None}


def test_a_pinned_provider_with_two_targets_uses_tier_and_weight():
    targets = [target("a", 1, model="x"), target("a", 3, model="y"), target("a", 1, tier=1, model="z"), target("b")]
    route = Route("m", tuple(targets))
    choices = [choose(call_for(pin="a"), route, {}, (), {}, partial(unit, 0, key, "pick 1"), 0.0) for key in IDS[:4000]]
    chosen = Counter(choice.target.model for choice in choices)
    assert chosen.keys() == {"x", "y"}
    assert abs(chosen["y"] - 3000) < 3.29 * (4000 * 0.75 * 0.25) ** 0.5


@pytest.mark.parametrize("pin", ["nobody", "a, nobody", "nobody, *"])
def test_an_unknown_name_in_a_pin_lists_those_that_serve_the_model(pin):
    with pytest.raises(UnknownPin, match=r"'nobody' has no target for 'm'; these do: a, b, c, d, off$"):
        pick(ALL, pin=pin)
