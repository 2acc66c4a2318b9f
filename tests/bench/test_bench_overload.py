from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from bench import overload
from bench.offered import Called, Try
from router.errors import Shed

CAPACITY = 10.0


def served(at: float, first: float = 0.1) -> Try:
    return Try(at, at + first + 0.2, at + first, 200, {}, whole=True, name=f"at-{at}")


def shed(at: float, cause: str, after: float = 0.001) -> Try:
    return Try(at, at + after, None, 503, {}, whole=True, why=Shed(cause, 1.0).message, name=f"at-{at}")


def failed(at: float, status: int) -> Try:
    return Try(at, at + 0.1, None, status, {}, whole=True, why="up answered 503", name=f"at-{at}")


def run(*calls: tuple[str, Try], seconds: float = 10.0) -> overload.Run:
    called = [Called(one.sent, kind, (one,)) for kind, one in calls]
    log = {one.name: one.ended - one.sent for _, one in calls}
    return overload.Run(called, 0.0, seconds, CAPACITY, log, latest=0.0)


@pytest.mark.parametrize("cause", Shed.CAUSES)
def test_the_rule_that_turned_a_call_away_is_read_from_its_message(cause: str) -> None:
    assert overload.cause(shed(0.0, cause)) == cause


def test_an_upstreams_own_refusal_is_none_of_the_gates() -> None:
    part = overload.Part([failed(0.0, 502), failed(1.0, 502), failed(2.0, 0), shed(3.0, "queue_full"), served(4.0)])
    assert part.failed == {"502": 2, "unanswered": 1}
    assert (len(part.shed), len(part.served)) == (1, 1)


def test_at_the_door_is_who_has_not_waited() -> None:
    causes = ("progressive", "expected_wait", "queue_full", "queue_evicted", "queue_timeout")
    part = overload.Part([shed(float(at), cause) for at, cause in enumerate(causes)])
    assert len(part.shed) == 5
    assert [overload.cause(one) for one in part.at_the_door] == list(causes[:3])


def test_goodput_counts_what_ended_in_the_time_that_is_looked_at() -> None:
    told = run(
        ("default", served(1.0)),
        ("default", served(4.9)),
        ("critical", served(7.0)),
        ("default", served(9.9)),
        seconds=10,
    )
    assert told.goodput(0.0) == pytest.approx(3 / 10 / CAPACITY)  # the last ends afterwards
    assert told.goodput(5.0) == pytest.approx(2 / 5 / CAPACITY)  # the second ends at 5.2


def test_kinds_are_told_apart_and_the_time_of_learning_is_left_out() -> None:
    told = run(("critical", served(1.0)), ("critical", served(6.0)), ("sheddable", shed(7.0, "progressive")))
    by_kind = overload.parts(told.called, 5.0, 10.0)
    assert {kind: len(part.tries) for kind, part in by_kind.items()} == {
        "critical": 1,
        "default": 0,
        "sheddable": 1,
        "all": 2,
    }


def test_quantiles_are_samples() -> None:
    assert [overload.quantile([4, 1, 3, 2], q) for q in (0.0, 0.5, 0.95, 1.0)] == [1, 3, 4, 4]
    assert math.isnan(overload.quantile([], 0.5))


def test_it_fits_in_a_terminal_and_says_what_is_missed() -> None:
    calls = [("critical", served(at / 10)) for at in range(50, 100)]
    calls += [("sheddable", shed(5.0 + at / 10, "progressive", after=0.05)) for at in range(50)]
    calls += [("default", failed(6.0, 502)), ("default", failed(6.1, 0))]
    sink = io.StringIO()
    overload.show(Console(file=sink, width=80), run(*calls), skipped=5.0)
    text = sink.getvalue()
    assert "…" not in text
    verdicts = {line.split("  ")[0]: line.split()[-1] for line in text.splitlines() if line.endswith(("met", "missed"))}
    assert verdicts == {
        "goodput ≥ 90% of 10/s": "met",
        "critical served ≥ 99%": "met",
        "first token p95 ≤ 2.2 s": "met",
        "shed p95 < 5 ms": "missed",
    }
    assert "sheddable: progressive 50" in text
