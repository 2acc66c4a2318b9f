"""Published results on the virtual clock, through the unchanged gateway: what retries cost, and what hedges gain."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from random import Random
from typing import Any

import pytest
from simulated import OFF, simulate

from router.sim.arrivals import poisson
from router.sim.clients import Called, amplification, goodput

SEED = 20_261
NO_PROTECTIONS = {"breaker": OFF, "throttle": OFF, "concurrency": OFF}
END = 1e9


# --- R3: Brooker, "Fixing retries with token buckets and circuit breakers" (2022) --------------------------------------


def retrying(p: float, retry: dict[str, Any]) -> Sequence[Called]:
    """1,000 calls a second for 20 s; each attempt fails with probability ``p``."""
    settings = {
        "seed": SEED,
        "providers": [{"name": "a", "kind": "mock", "error_rate": p, "ttft": 0.01, "tokens": 1}],
        "routes": [{"model": "m", "targets": [{"provider": "a"}]}],
        "defaults": NO_PROTECTIONS
        | {"retry": {"backoff": {"base": 0.0}, "concurrency": OFF, "dont_retry": OFF, **retry}},
        "shedding": OFF,
    }
    return simulate(settings, poisson(1000.0, 20.0, Random(SEED)))


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5, 1.0])
def test_r3_three_retries_cost_what_the_closed_form_says(p):
    called = retrying(p, {"max_attempts": 4, "budget": OFF})
    load = (1 - p**4) / (1 - p) if p < 1 else 4.0
    print(f"seed {SEED}, p {p}: {goodput(called, 0, END):.3f}, {amplification(called, 0, END):.3f}")
    assert goodput(called, 0, END) == pytest.approx(1 - p**4, abs=0.01)
    assert amplification(called, 0, END) == pytest.approx(load, abs=0.03)


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5, 1.0])
def test_r3_a_budget_bounds_the_load_and_costs_success_only_where_retries_are_many(p):
    called = retrying(p, {"max_attempts": 4, "budget": {"ratio": 0.1}})
    load = amplification(called, 0, END)
    print(f"seed {SEED}, p {p}: {goodput(called, 0, END):.3f}, {load:.3f}")
    assert load <= 1.1 + 10 / len(called)
    if p > 0.1:  # all that it pays for is used, and each retry succeeds as often as a first attempt does
        assert load == pytest.approx(1.1, abs=0.005)
        assert goodput(called, 0, END) == pytest.approx((1 - p) * 1.1, abs=0.01)
    else:
        assert goodput(called, 0, END) >= 0.995


# --- R7: Dean and Barroso, "The Tail at Scale" (2013) -------------------------------------------------------------------


def hedging(hedge: dict[str, Any] | None) -> Sequence[Called]:
    """50 calls a second for 400 s to two alike, whose time to first token is lognormal."""
    provider = {"kind": "mock", "ttft": {"lognormal": [0.2, 0.6]}, "tokens": 1}
    route = {"model": "m", "targets": [{"provider": "a"}, {"provider": "b"}], **({"hedge": hedge} if hedge else {})}
    settings = {
        "seed": SEED,
        "providers": [{"name": "a", **provider}, {"name": "b", **provider}],
        "routes": [route],
        "defaults": NO_PROTECTIONS,
        "shedding": OFF,
    }
    return simulate(settings, poisson(50.0, 400.0, Random(SEED)), stream=True)


def quantile(called: Sequence[Called], q: float) -> float:
    times = sorted(call.began - call.arrived for call in called if call.began is not None)
    return times[ceil(q * len(times)) - 1]


def test_r7_a_hedge_at_p95_costs_a_twentieth_and_cuts_the_tail():
    without, hedged = hedging(None), hedging({"after": "p95", "max_share": 0.1})
    settled = 20.0  # by then the quantile is known
    extra = amplification(hedged, settled, END) - 1.0
    tails = [(quantile(called, 0.99), quantile(called, 0.999)) for called in (without, hedged)]
    print(f"seed {SEED}: {extra:.2%} more attempts; p99 and p99.9 without and with: {tails}")
    assert goodput(hedged, 0, END) == pytest.approx(1.0)
    assert 0.04 <= extra <= 0.06
    assert tails[1][0] < tails[0][0]
    assert tails[1][1] < 0.8 * tails[0][1]
