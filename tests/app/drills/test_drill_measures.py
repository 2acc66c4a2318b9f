"""What each measure makes of what was seen, and when it is held."""

from __future__ import annotations

import pytest

from app.drills.measures import MEASURES, InSpan, Recovers
from app.drills.seen import Seen, Span
from router.events import AttemptStarted, BreakerMoved, Events, FaultInjected, Shed
from router.sim.results import Called

SPAN = Span(0.0, 10.0)


def called(at: float, *, ok: bool = True, calls: int = 1, attempts: int = 1, took: float = 0.5) -> Called:
    return Called(at, at + took / 2 if ok else None, at + took, ok, calls, attempts, "ok" if ok else "exhausted", "a/m")


@pytest.fixture
def seen() -> Seen:
    """Ten calls, one a second, of which two were not served; and one beyond the span."""
    seen, events = Seen(), Events()
    seen.listen(events)
    for second in range(10):
        bad = second in (3, 5)
        seen.of("x" if second < 4 else None).add(
            called(float(second), ok=not bad, calls=2 if bad else 1, attempts=3 if bad else 1, took=1.0 + second)
        )
        events.emit(AttemptStarted(float(second), "r", "a/m" if second < 6 else "b/m", 1, second == 2))
    seen.results.add(called(10.0))
    events.emit(AttemptStarted(10.0, "r", "a/m", 1, False))
    events.emit(BreakerMoved(4.0, "a/m", "closed", "open", "", 1, 1, 0, 1, 9.0))
    events.emit(BreakerMoved(6.0, "a/m", "open", "half_open", "", 1, 1, 0, 1, 0.0))
    events.emit(FaultInjected(3.0, "r", "a/m", "f", "http_5xx"))
    events.emit(FaultInjected(5.0, "r", "a/m", "g", "stall"))
    for at in (1.0, 2.0, 3.0):
        events.emit(Shed(at, "r", "m", "default", "queue_full"))
    return seen


@pytest.mark.parametrize(
    ("name", "wanted", "value"),
    [
        ("goodput", {}, 0.8),
        ("goodput", {"traffic": "x"}, 0.75),
        ("availability", {}, 8 / 12),
        ("amplification", {}, 1.4),
        ("load", {}, 1.0),
        ("load", {"target": "a"}, 0.6),
        ("rate", {"target": "b"}, 0.4),
        ("share", {"target": "b"}, 0.4),
        ("hedges", {}, 0.1),
        ("shed", {}, 3 / 12),
        ("opened", {"target": "a"}, 1),
        ("opened", {"target": "b"}, 0),
        ("injected", {}, 2),
        ("injected", {"kind": "stall"}, 1),
        ("ttft", {"quantile": "p50"}, 2.5),
        ("latency", {"quantile": 0.999}, 10.0),
        ("recovers", {"after": 2, "within": 1}, 4.0),
    ],
)
def test_a_measure(seen: Seen, name: str, wanted: dict[str, object], value: float) -> None:
    measure = MEASURES[name]
    assert measure.measured(
        seen, SPAN if name != "recovers" else Span(2.0, 10.0), measure.options(**wanted)
    ) == pytest.approx(value)


def test_every_measure_is_tried_above() -> None:
    (mark,) = test_a_measure.pytestmark
    assert {row[0] for row in mark.args[1]} == MEASURES.keys()


@pytest.mark.parametrize(
    "name", ["goodput", "availability", "amplification", "load", "hedges", "shed", "ttft", "latency"]
)
def test_where_nothing_came_nothing_is_measured_and_nothing_holds(seen: Seen, name: str) -> None:
    measure = MEASURES[name]
    wanted = measure.options(at_least=0)
    value = measure.measured(seen, Span(20.0, 30.0), wanted)
    assert value is None
    assert not wanted.holds(value)


def test_recovery_is_for_good(seen: Seen) -> None:
    """A bad second after good ones counts; what is bad at the end has not recovered."""
    measure = MEASURES["recovers"]
    assert measure.measured(seen, Span(6.0, 10.0), Recovers(after=6, within=1)) == pytest.approx(0)
    seen.results.add(called(9.5, ok=False))
    assert measure.measured(seen, Span(2.0, 10.0), Recovers(after=2, within=1)) is None


def test_the_first_window_begins_where_the_span_does(seen: Seen) -> None:
    """Seconds 3 and 5 are bad, of windows from 2 to 5 and from 5 to 8: what is left is that from 8 on."""
    recovers = MEASURES["recovers"]
    assert recovers.measured(seen, Span(2.0, 10.0), Recovers(after=2, within=1, to=0.9, window=3)) == pytest.approx(6)
    assert recovers.measured(seen, Span(4.0, 10.0), Recovers(after=4, within=1, window=100)) is None


def test_where_nothing_came_nothing_has_recovered(seen: Seen) -> None:
    wanted = Recovers(after=20, within=1)
    assert MEASURES["recovers"].measured(seen, Span(20.0, 30.0), wanted) is None


def test_bounds_hold_with_their_ends() -> None:
    wanted = InSpan(at_least=1, at_most=2)
    assert [wanted.holds(value) for value in (0.99, 1.0, 2.0, 2.01, None)] == [False, True, True, False, False]
    assert [Recovers(after=0, within=5).holds(value) for value in (5.0, 5.1, None)] == [True, False, False]


@pytest.mark.parametrize("value", [True, "p0", "p100", "median", 1, 0, 95])
def test_what_is_no_quantile_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="must be a quantile such as p95"):
        MEASURES["ttft"].options(quantile=value)
