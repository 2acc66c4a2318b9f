"""Published results on the virtual clock, through the unchanged gateway: what retries cost, when they never end, what hedges gain.

The experiments are those of docs/PUBLISHED.md. Where one at full scale takes minutes, the same a twentieth as large runs here;
BREAKWATER_LONG=1 runs those at full scale, too.
"""

from __future__ import annotations

import os
from random import Random
from statistics import fmean

import pytest

from bench.published import backoff, retries
from bench.published.collapse import (
    BARE,
    CASES,
    FULL,
    GOES_ON,
    RECOVERED,
    TWENTIETH,
    Case,
    database,
    recovery,
    retrying,
)
from bench.published.experiment import SEED
from bench.published.hedging import HEDGE, LAWS, SETTLED, hedging
from bench.simulated import END, OFF
from router.sim.contention import WAITS

long = pytest.mark.skipif("BREAKWATER_LONG" not in os.environ, reason="takes minutes; BREAKWATER_LONG=1 runs it")


# --- R1: Bronson and others, "Metastable Failures in Distributed Systems" (HotOS'21), 2.1 -------------------------------


def recovers(rate: float, by: float, scale: float, ratio: float = 0.0) -> None:
    called = database(rate, by + 10.0, scale, retrying(budget={"ratio": ratio}) if ratio else BARE)
    since = recovery(called)
    print(f"{rate} calls/s, budget {ratio}, scale {scale}: recovered at {since} s")
    assert called.goodput(0.0, 59.0) == pytest.approx(1.0)
    assert since is not None
    assert since <= by
    if not ratio:  # the backlog, over what is left of the capacity
        assert since - GOES_ON == pytest.approx(2 * rate * 10.0 / (300.0 - 2 * rate), rel=0.2)
    assert called.amplification(by, END) == pytest.approx(1.0)


def stays_down(
    rate: float, until: float, scale: float, load: float, ratio: float = 0.0, *, within: float = 0.01
) -> None:
    called = database(rate, until, scale, retrying(budget={"ratio": ratio}) if ratio else BARE)
    print(f"{rate} calls/s, budget {ratio}, scale {scale}: load {called.amplification(until - 100, until - 10):.3f}")
    assert called.goodput(0.0, 59.0) == pytest.approx(1.0)
    assert called.goodput(until - 100, END) <= 0.01
    assert called.amplification(until - 100, until - 10) == pytest.approx(load, abs=within)


BACK = [(120.0, 110.0), (140.0, 300.0), (145.0, 400.0), (148.0, 900.0)]


@pytest.mark.parametrize(("rate", "by"), BACK)
def test_r1_below_half_of_the_capacity_it_comes_back_by_itself_the_later_the_closer(rate, by):
    recovers(rate, by, TWENTIETH)


@pytest.mark.parametrize(("rate", "until"), [(151.0, 1000.0), (155.0, 500.0), (280.0, 500.0)])
def test_r1_above_it_stays_down_at_twice_the_load(rate, until):
    stays_down(rate, until, TWENTIETH, 2.0)


def test_r1_a_budget_that_fits_into_what_is_to_spare_brings_it_back():
    recovers(280.0, 1500.0, TWENTIETH, 0.05)


def test_r1_one_that_does_not_fit_is_no_cure():
    """280 x 1.1 is more than 300. The floor of the budget comes on top, or a part of it is lost to whole retries."""
    stays_down(280.0, 700.0, TWENTIETH, 1.1, 0.1, within=0.02)


def case(title: str) -> Case:
    return next(each for each in CASES if each.title == f"280 calls/s, {title}")._replace(seconds=110.0)


@pytest.mark.parametrize("title", ["every protection of retries", "only the throttle"])
def test_r1_what_is_no_cure(title):
    called = case(title).run()
    assert called.goodput(0.0, 59.0) == pytest.approx(1.0)
    assert called.goodput(GOES_ON, END) <= 0.01


@pytest.mark.parametrize(
    "title",
    ["one retry, dead work left out", "only the breaker", "only the concurrency limit", "Breakwater's defaults"],
)
def test_r1_what_is(title):
    called = case(title).run()
    since = called.recovered(GOES_ON, RECOVERED)
    assert since is not None
    assert since <= GOES_ON + 15.0
    assert called.amplification(since, END) <= 1.1


@long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("rate", "by"), BACK)
def test_r1_at_full_scale_it_comes_back(rate, by):
    recovers(rate, by, FULL)


@long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rate", [151.0, 280.0])
def test_r1_at_full_scale_it_stays_down(rate):
    stays_down(rate, 3000.0, FULL, 2.0)


@long
@pytest.mark.timeout(900)
def test_r1_at_full_scale_a_budget_of_a_twentieth_brings_it_back_and_one_of_a_tenth_does_not():
    recovers(280.0, 1500.0, FULL, 0.05)
    stays_down(280.0, 1500.0, FULL, 1.1, 0.1, within=0.02)


# --- R3: Brooker, "Fixing retries with token buckets and circuit breakers" (2022) --------------------------------------


def check(p: float, policy: str, served: float, load: float, clients: int) -> None:
    found = retries.cell(p, policy, clients)
    print(f"seed {SEED}, p {p}, {policy}: {found[0]:.3f}/{found[1]:.3f}, published {served:.3f}/{load:.3f}")
    assert found == (pytest.approx(served, abs=0.01), pytest.approx(load, abs=0.01))


@pytest.mark.parametrize(("p", "policy", "served", "load"), retries.CELLS)
def test_r3_every_cell_with_some_of_the_clients(p, policy, served, load):
    check(p, policy, served, load, retries.enough(p))


@long
@pytest.mark.parametrize(("p", "policy", "served", "load"), retries.CELLS)
def test_r3_every_cell_with_a_hundred_clients(p, policy, served, load):
    check(p, policy, served, load, retries.ALL_CLIENTS)


@pytest.mark.parametrize("p", [0.2, 1.0])
def test_r3_three_retries_of_the_gateway_cost_what_the_closed_form_says(p):
    called = retries.by_gateway(p, {"max_attempts": 4, "budget": OFF})
    load = (1 - p**4) / (1 - p) if p < 1 else 4.0
    assert called.goodput(0, END) == pytest.approx(1 - p**4, abs=0.01)
    assert called.amplification(0, END) == pytest.approx(load, abs=0.015)


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5, 1.0])
def test_r3_a_budget_of_the_gateway_bounds_the_load_and_costs_success_only_where_retries_are_many(p):
    called = retries.by_gateway(p, retries.BUDGETED)
    load = called.amplification(0, END)
    print(f"seed {SEED}, p {p}: {called.goodput(0, END):.3f}, {load:.3f}")
    assert load <= 1.1 + 10 / len(called)
    if p > 0.1:  # all that it pays for is used, and each retry succeeds as often as a first attempt does
        assert load == pytest.approx(1.1, abs=0.005)
        assert called.goodput(0, END) == pytest.approx((1 - p) * 1.1, abs=0.01)
    else:
        assert called.goodput(0, END) >= 0.995


# --- R6: Brooker, "Exponential backoff and jitter" (AWS, 2015) ----------------------------------------------------------


@pytest.mark.parametrize("clients", backoff.PUBLISHED)
def test_r6_the_table_and_jitter_saves_more_than_half(clients):
    found = backoff.contended(clients)
    print(f"seed {SEED}, {clients} clients:", found)
    for wait, (calls, milliseconds) in backoff.PUBLISHED[clients].items():
        assert found[wait].calls == pytest.approx(calls, rel=0.05, abs=4), wait
        assert found[wait].seconds * 1000 == pytest.approx(milliseconds, rel=0.2), wait
    if clients == 100:
        calls = {wait: found[wait].calls for wait in WAITS}
        assert calls["none"] > calls["expo"] > calls["decorr"] > calls["equal"] >= calls["full"]
        assert calls["full"] / calls["expo"] <= 0.5


# --- R7: Dean and Barroso, "The Tail at Scale" (2013) -------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_r7_a_hedge_at_p95_costs_a_twentieth_and_cuts_the_tail(law):
    without, hedged = hedging(None, law), hedging(HEDGE, law)
    extra = hedged.amplification(SETTLED, END) - 1.0
    tails = [[called.quantile(q, SETTLED, END, of="first") for q in (0.99, 0.999)] for called in (without, hedged)]
    print(f"seed {SEED}: {extra:.2%} more attempts; p99 and p99.9 without and with: {tails}")
    assert hedged.goodput(0, END) == pytest.approx(1.0)
    assert 0.04 <= extra <= 0.06
    assert tails[1][0] < tails[0][0]
    assert tails[1][1] < 0.8 * tails[0][1]


def test_r7_one_slow_leaf_in_a_hundred_is_met_by_63_in_a_hundred_fan_outs():
    rng = Random(SEED)
    slow = [any(rng.random() < 0.01 for _ in range(100)) for _ in range(5_000)]
    assert fmean(slow) == pytest.approx(0.63, abs=0.02)
