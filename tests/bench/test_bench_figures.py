from __future__ import annotations

import pytest

from bench.figures import FIGURES, GOALS, Goal, Samples, Spread, judged, merged, ratios, spread
from bench.servers import ENVOY, GATEWAY


def test_a_spread_is_median_and_extremes() -> None:
    assert spread([3.0, 9.0, 1.0]) == Spread(3.0, 1.0, 9.0)
    assert spread([1.0, 2.0]) == Spread(1.5, 1.0, 2.0)
    assert spread([]) is None


def test_ratios_are_taken_round_by_round() -> None:
    # The second round was slow for both: the ratio does not see it.
    assert ratios([10.0, 5.0, 10.0], [20.0, 10.0, 25.0]) == [0.5, 0.5, 0.4]
    assert ratios([1.0, 4.0], [0.0, 2.0]) == [2.0]
    with pytest.raises(ValueError, match="argument 2"):
        ratios([1.0], [])


@pytest.mark.parametrize(
    ("goal", "gateway", "envoy", "median", "met"),
    [
        (Goal("x", 0.25, at_least=True, of_envoy=True), [25.0, 30.0, 20.0], [100.0, 100.0, 100.0], 0.25, True),
        (Goal("x", 0.25, at_least=True, of_envoy=True), [24.0, 30.0, 20.0], [100.0, 100.0, 100.0], 0.24, False),
        (Goal("x", 1.4, of_envoy=True), [14.0], [10.0], 1.4, True),
        (Goal("x", 1.4, of_envoy=True), [15.0], [10.0], 1.5, False),
        (Goal("x", 75), [75.0, 10.0, 90.0], None, 75.0, True),
        (Goal("x", 75), [75.1], None, 75.1, False),
    ],
)
def test_a_goal_is_met_by_the_median(
    goal: Goal, gateway: list[float], envoy: list[float] | None, median: float, met: bool
) -> None:
    samples: Samples = {"x": {GATEWAY: gateway} | ({ENVOY: envoy} if envoy else {})}
    measured, verdict = judged(goal, samples)
    assert measured is not None
    assert measured.median == pytest.approx(median)
    assert verdict is met


@pytest.mark.parametrize("samples", [{}, {"x": {}}, {"x": {GATEWAY: [1.0]}}, {"x": {ENVOY: [1.0]}}])
def test_without_both_there_is_no_verdict(samples: Samples) -> None:
    assert judged(Goal("x", 1.4, of_envoy=True), samples) == (None, None)


def test_merged_chunks_in_any_round_of_any_server_are_seen() -> None:
    one_by_one = {ENVOY: [1.0, 0.99], GATEWAY: [1.0, 1.05]}
    assert merged({}) == []
    assert merged({"chunks_per_read_256": one_by_one}) == []
    assert merged({"chunks_per_read_256": one_by_one, "chunks_per_read_1000": {ENVOY: [1.0, 2.7]}}) == [1000]


def test_every_goal_is_a_figure_and_no_figure_is_there_twice() -> None:
    keys = [figure.key for part in FIGURES.values() for figure in part]
    assert len(keys) == len(set(keys))
    assert {goal.figure for goal in GOALS} <= set(keys)
