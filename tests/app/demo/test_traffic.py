"""The last minute, second by second."""

from __future__ import annotations

from typing import Any

import pytest

from app.demo.traffic import MAX_FAILOVERS, WINDOW_SECONDS, percentile


def test_rates_are_over_the_last_whole_seconds(stage: Any) -> None:
    for at in (1.2, 6.1, 6.2, 7.5, 8.5, 10.5, 10.9):
        stage.happens(at, ("mock_steady", "200"))
    assert stage.traffic.rates(stage.at(10.99)) == {("mock_steady/demo", True): 4 / 5}
    assert stage.traffic.rates(stage.at(11.0)) == {("mock_steady/demo", True): 6 / 5}
    assert stage.traffic.rates(stage.at(40)) == {}


def test_at_the_start_there_are_fewer_seconds_to_average(stage: Any) -> None:
    stage.happens(0.5, ("mock_steady", "200"))
    assert stage.traffic.rates(stage.at(0.9)) == {}
    assert stage.traffic.rates(stage.at(1.1)) == {("mock_steady/demo", True): 1.0}
    assert stage.traffic.rates(stage.at(2.1)) == {("mock_steady/demo", True): 0.5}


def test_history_has_every_second_also_the_quiet_ones(stage: Any) -> None:
    stage.happens(0.5, ("mock_flaky", "502"), ("mock_steady", "200"))
    stage.happens(2.5, ("mock_steady", "200"))
    assert [(second.requests, second.failed) for second in stage.traffic.history(stage.at(4.0))] == [
        (1, 1),
        (0, 0),
        (1, 0),
        (0, 0),
    ]


def test_what_is_over_a_minute_old_is_forgotten(stage: Any) -> None:
    for second in range(200):
        stage.happens(second + 0.5, ("mock_flaky", "502"), ("mock_steady", "200"))
    assert len(stage.traffic.history(stage.at(200))) == WINDOW_SECONDS
    assert len(stage.traffic._seconds) == WINDOW_SECONDS + 1
    assert len(stage.traffic.failovers) == MAX_FAILOVERS
    assert len(stage.traffic.first_tokens(stage.at(200))["mock_steady/demo"]) == WINDOW_SECONDS


def test_first_tokens_are_the_targets_own_and_of_streams_only(stage: Any) -> None:
    stage.happens(1, ("mock_flaky", "502"), ("mock_steady", "200"), took=3.0)
    stage.happens(1, ("mock_slow", "200"), stream=False)
    assert stage.traffic.first_tokens(stage.at(2)) == {"mock_steady/demo": [0.1]}


def test_a_failover_keeps_every_hop(stage: Any) -> None:
    stage.happens(1, ("mock_steady", "200"))
    stage.happens(2, ("mock_flaky", "unreachable"), ("mock_steady", "200"))
    (failover,) = stage.traffic.failovers
    assert failover.hops == (("mock_flaky", "unreachable"), ("mock_steady", "200"))
    assert (failover.stream, round(failover.seconds, 6)) == (True, 0.2)


def test_what_never_reached_a_provider_is_no_traffic(stage: Any) -> None:
    stage.happens(1, status=404)
    assert [second.requests for second in stage.traffic.history(stage.at(2))] == [0, 0]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, None), ([7.0], 0.95, 7.0), ([1.0, 2.0, 3.0], 0.5, 2.0), ([float(n) for n in range(100)], 0.95, 95.0)],
)
def test_percentiles(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected
