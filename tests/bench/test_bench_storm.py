from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench import storm
from bench.offered import Called, Try


def tried(sent: float, status: int = 200, **headers: str) -> Try:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Try(sent, sent + 0.1, sent + 0.05, status, named, whole=True)


def call(at: float, *statuses: int) -> Called:
    """Its tries come a second apart."""
    return Called(at, "default", tuple(tried(at + number, status) for number, status in enumerate(statuses)))


def test_calls_count_where_they_arrived_and_requests_where_they_were_sent() -> None:
    called = [call(99.5, 200), call(100.2, 502), call(101.9, 503, 503, 200), call(104.5, 200)]
    told = storm.storm(called, [99.6, 100.3, 100.4, 104.6], began=100.0, failing=2, whole=(-1, 5))
    rows = [(s.start, s.calls, s.served, s.requests, s.posts) for s in told.seconds]
    assert rows == [
        (-1, 1, 1, 1, 1),
        (0, 1, 0, 1, 2),
        (1, 1, 1, 1, 0),
        (2, 0, 0, 1, 0),
        (3, 0, 0, 1, 0),
        (4, 1, 1, 1, 1),
    ]
    assert told.amplification == pytest.approx(2 / 2)
    assert told.in_all == pytest.approx(2 / 2)


def test_what_is_outside_of_the_run_is_left_out() -> None:
    told = storm.storm([call(90.0, 200)], [200.0], began=100.0, failing=1, whole=(-1, 2))
    assert [(s.calls, s.posts) for s in told.seconds] == [(0, 0)] * 3


def after(*goodputs: float) -> storm.Storm:
    """A second that is well and one of failure, then seconds of 100 calls each."""
    seconds = [storm.Second(-1, 100, 100, 100, 100), storm.Second(0, 100, 0, 100, 110)]
    seconds += [storm.Second(1 + at, 100, round(100 * share), 100, 100) for at, share in enumerate(goodputs)]
    return storm.Storm(seconds, 1)


@pytest.mark.parametrize(
    ("goodputs", "seconds"),
    [
        ((1, 1, 1), 0),
        ((0.96, 0.95, 1), 0),
        ((0.5, 1, 1), 1),
        ((1, 0.94, 1), 2),  # it was back, and was lost again
        ((0, 0, 0.94), None),
        ((1, 1, 0), None),
    ],
)
def test_goodput_is_back_when_it_stays(goodputs: tuple[float, ...], seconds: int | None) -> None:
    assert after(*goodputs).recovered == seconds


def test_a_second_without_calls_has_lost_none() -> None:
    assert storm.Second(0, 0, 0, 0, 0).goodput == pytest.approx(1.0)


def test_amplification_is_of_the_failure_only() -> None:
    told = storm.Storm(
        [storm.Second(-1, 10, 10, 10, 90), storm.Second(0, 10, 0, 20, 22), storm.Second(1, 9, 9, 9, 99)], 1
    )
    assert told.amplification == pytest.approx(1.1)
    assert told.in_all == pytest.approx(2.2)


def test_bars_go_from_nothing_to_the_top_and_not_beyond() -> None:
    assert storm.plot([0, 1, 2, 4, 9], 4) == " ▂▄██"


def shown(told: storm.Storm) -> str:
    sink = io.StringIO()
    storm.show(Console(file=sink, width=80), told, 200.0)
    return sink.getvalue()


def test_the_verdicts() -> None:
    good, bad = shown(after(0.5, 1, 1)), shown(after(0, 0, 0))
    assert "1.100 a request (≤ 1.1: met)" in good
    assert "over 95% for good 1 s after the end of the failure" in good
    assert "it stays down" in bad
    assert "…" not in good
