"""A published collapse on the virtual clock, through the unchanged gateway: with nothing on it stays, with the defaults it ends.

HotOS'21 (Bronson and others, "Metastable Failures in Distributed Systems"), section 2.1: a server of 300 calls a second, a time-out
of 1 s, one retry, and 10 s in which it does nothing. It can bear 150 calls a second for ever (300 / 2), and 280 until that happens.
"""

from __future__ import annotations

from typing import Any

import pytest
from simulated import OFF, simulate

from router.sim.arrivals import regular
from router.sim.levels import Levels
from router.sim.results import Results
from router.sim.server import Server
from router.sim.service import Service

CAPACITY = 300.0
OUTAGE = (10.0, 20.0)
WORKS = Levels.steps((0.0, 1.0), (OUTAGE[0], 0.0), (OUTAGE[1], 1.0))
NAIVE = {
    "defaults": {
        "timeouts": {"attempt": 1.0},
        "retry": {"max_attempts": 2, "backoff": {"base": 0.0}, "budget": OFF, "concurrency": OFF, "dont_retry": OFF},
        "breaker": OFF,
        "throttle": OFF,
        "concurrency": OFF,
    },
    "shedding": OFF,
}
RECOVERED = OUTAGE[1] + 15.0  # by then, with the defaults
DEFAULTS: dict[str, Any] = {"defaults": {"timeouts": {"attempt": 1.0}}}


def run(rate: float, seconds: float, settings: dict[str, Any], *, patience: float | None = None) -> Results:
    server = Server("db", Service(rate=CAPACITY, patience=patience, capacity=WORKS))
    given = {
        "providers": [{"name": "db", "kind": "echo"}],
        "routes": [{"model": "m", "targets": [{"provider": "db"}]}],
        **settings,
    }
    return simulate(given, regular(rate, seconds), make=lambda _: server)


@pytest.mark.parametrize(("rate", "drained"), [(120.0, 60.0)])
def test_r1_below_half_of_the_capacity_it_comes_back_by_itself(rate, drained):
    """The backlog is gone 2 x rate x 10 / (300 - 2 x rate) seconds after the outage."""
    called = run(rate, drained + 5, NAIVE)
    assert called.goodput(0.0, OUTAGE[0]) == pytest.approx(1.0)
    assert called.goodput(drained, drained + 5) == pytest.approx(1.0)


@pytest.mark.parametrize("rate", [155.0, 280.0])
def test_r1_above_it_stays_down_at_twice_the_load_for_ever(rate):
    called = run(rate, 60.0, NAIVE)
    assert called.goodput(0.0, OUTAGE[0] - 1) == pytest.approx(1.0)
    assert called.goodput(40.0, 60.0) == pytest.approx(0.0)
    assert called.amplification(40.0, 60.0) == pytest.approx(2.0)


def test_r1_where_no_work_is_done_for_callers_who_have_gone_it_comes_back():
    called = run(280.0, 60.0, NAIVE, patience=1.0)
    assert called.goodput(40.0, 60.0) == pytest.approx(1.0)


def test_r1_with_breakwater_s_defaults_it_ends():
    called = run(280.0, 60.0, DEFAULTS)
    assert called.goodput(RECOVERED, 60.0) >= 0.95
    assert called.amplification(OUTAGE[1], 60.0) <= 1.1
