from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from router.select.chance import unit

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@examples(200)
@given(st.integers(), TEXT, TEXT)
def test_it_lies_in_the_half_open_unit_interval_and_repeats(seed, request_id, draw):
    value = unit(seed, request_id, draw)
    assert 0 <= value < 1
    assert value == unit(seed, request_id, draw)


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ((0, "r1", "pick 1"), 0.8533518575881973),
        ((1, "r1", "pick 1"), 0.3350200986991192),
        ((0, "r2", "pick 1"), 0.6057320000080025),
        ((0, "r1", "pick 2"), 0.1555080847606637),
    ],
)
def test_it_is_the_same_on_every_machine(arguments, value):
    assert unit(*arguments) == value


def test_it_does_not_depend_on_the_hash_seed():
    root = Path(__file__).parents[3]
    code = "from router.select.chance import unit; print(unit(7, 'r', 'pick 1'))"
    for hash_seed in "12":
        env = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
        said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert said.stdout.strip() == repr(unit(7, "r", "pick 1"))


def test_it_is_uniform_over_request_ids():
    count, cells = 20_000, 20
    found = [0] * cells
    for number in range(count):
        found[int(unit(0, f"req-{number}", "pick 1") * cells)] += 1
    expected = count / cells
    chi_square = sum((seen - expected) ** 2 / expected for seen in found)
    assert chi_square < 43.82, f"19 degrees of freedom, 99.9 %: {found}"


def test_one_draw_tells_nothing_of_the_next():
    values = [unit(0, f"req-{number}", draw) for number in range(10_000) for draw in ("pick 1", "pick 2")]
    pairs = list(pairwise(values))[::2]
    both_low = sum(first < 0.5 and second < 0.5 for first, second in pairs)
    assert abs(both_low - 2500) < 3.29 * (10_000 * 0.25 * 0.75) ** 0.5
