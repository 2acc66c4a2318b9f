"""Published results on the virtual clock, through the unchanged gateway: what retries cost, when they never end, what hedges gain.

Where a run at full scale takes minutes, the same one a twentieth as large runs here: rates, and what a rate does in a second, are
divided by 20, while times stay what they are. BREAKWATER_LONG=1 runs those at full scale, too.
"""

from __future__ import annotations

import os
from random import Random
from statistics import fmean
from typing import Any

import pytest
from simulated import END, OFF, simulate

from providers.law import Law
from router.sim.arrivals import poisson, regular
from router.sim.clients import Clients
from router.sim.contention import WAITS, contend
from router.sim.levels import Levels
from router.sim.results import Results
from router.sim.retries import Jitter, Retries, RetryTokens
from router.sim.server import Server
from router.sim.service import Service

SEED = 20_261
NO_PROTECTIONS = {"breaker": OFF, "throttle": OFF, "concurrency": OFF}
AT_ONCE = {"backoff": {"base": 0.0}, "concurrency": OFF, "dont_retry": OFF}
long = pytest.mark.skipif("BREAKWATER_LONG" not in os.environ, reason="takes minutes; BREAKWATER_LONG=1 runs it")


def one_target(name: str, retry: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    """Settings of a gateway with nothing on but ``retry``."""
    return {
        "seed": SEED,
        "providers": [{"name": name, "kind": "echo"}],
        "routes": [{"model": "m", "targets": [{"provider": name}]}],
        "defaults": {**NO_PROTECTIONS, "retry": {**AT_ONCE, **retry}, **defaults},
        "shedding": OFF,
    }


# --- R1: Bronson and others, "Metastable Failures in Distributed Systems" (HotOS'21), 2.1 -------------------------------

OUTAGE = Levels.steps((0.0, 1.0), (60.0, 0.0), (70.0, 1.0))
CAPACITY = 300.0
TWENTIETH = 1 / 20


def database(rate: float, seconds: float, scale: float, budget: dict[str, Any]) -> Results:
    """One retry after a time-out of 1 s; the server stands still from 60 to 70 s, and works on for who has gone."""
    server = Server("db", Service(rate=CAPACITY * scale, capacity=OUTAGE))
    settings = one_target("db", {"max_attempts": 2, "budget": budget}, timeouts={"attempt": 1.0})
    return simulate(settings, regular(rate * scale, seconds), make=lambda _: server)


def recovers(rate: float, by: float, scale: float, budget: dict[str, Any] = OFF) -> None:
    called = database(rate, by + 10.0, scale, budget)
    since = called.recovered(70.0, 0.999)
    print(f"{rate} calls/s, scale {scale}: recovered at {since} s")
    assert called.goodput(0.0, 59.0) == pytest.approx(1.0)
    assert since is not None
    assert since <= by
    if not budget.get("ratio"):  # the backlog, over what is left of the capacity
        assert since - 70.0 == pytest.approx(2 * rate * 10.0 / (CAPACITY - 2 * rate), rel=0.2)
    assert called.amplification(by, END) == pytest.approx(1.0)


def stays_down(
    rate: float, until: float, scale: float, load: float, budget: dict[str, Any] = OFF, *, within: float = 0.01
) -> None:
    called = database(rate, until, scale, budget)
    print(f"{rate} calls/s, scale {scale}: load {called.amplification(until - 100, until - 10):.3f}")
    assert called.goodput(0.0, 59.0) == pytest.approx(1.0)
    assert called.goodput(until - 100, END) <= 0.01
    assert called.amplification(until - 100, until - 10) == pytest.approx(load, abs=within)


BACK = [(140.0, 300.0), (145.0, 400.0), (148.0, 900.0)]


@pytest.mark.parametrize(("rate", "by"), BACK)
def test_r1_below_half_of_the_capacity_it_comes_back_by_itself_the_later_the_closer(rate, by):
    recovers(rate, by, TWENTIETH)


@pytest.mark.parametrize(("rate", "until"), [(151.0, 1000.0), (280.0, 500.0)])
def test_r1_above_it_stays_down_at_twice_the_load(rate, until):
    stays_down(rate, until, TWENTIETH, 2.0)


def test_r1_a_budget_that_fits_into_what_is_to_spare_brings_it_back():
    recovers(280.0, 1500.0, TWENTIETH, {"ratio": 0.05})


def test_r1_one_that_does_not_fit_is_no_cure():
    """280 x 1.1 is more than 300. The floor of the budget comes on top, or a part of it is lost to whole retries."""
    stays_down(280.0, 700.0, TWENTIETH, 1.1, {"ratio": 0.1}, within=0.02)


@long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("rate", "by"), BACK)
def test_r1_at_full_scale_it_comes_back(rate, by):
    recovers(rate, by, 1.0)


@long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rate", [151.0, 280.0])
def test_r1_at_full_scale_it_stays_down(rate):
    stays_down(rate, 3000.0, 1.0, 2.0)


@long
@pytest.mark.timeout(900)
def test_r1_at_full_scale_a_budget_of_a_twentieth_brings_it_back_and_one_of_a_tenth_does_not():
    recovers(280.0, 1500.0, 1.0, {"ratio": 0.05})
    stays_down(280.0, 1500.0, 1.0, 1.1, {"ratio": 0.1}, within=0.02)


# --- R3: Brooker, "Fixing retries with token buckets and circuit breakers" (2022) --------------------------------------


def again(count: int, **law: Any) -> Retries:
    return Retries(count=count, base=0.0, cap=0.0, jitter=Jitter.NONE, honours=False, **law)


POLICIES = {
    "none": again(0),
    "three retries": again(3),
    "adaptive": again(1000, budget=RetryTokens(0.1, 5.0)),
    "breaker": again(3, stop_above=0.1),
}
# By how many attempts fail: (share served, attempts a request), in the order of POLICIES.
R3 = {
    0.01: [(0.990, 1.000), (1.000, 1.010), (1.000, 1.010), (1.000, 1.010)],
    0.05: [(0.951, 1.000), (1.000, 1.052), (1.000, 1.054), (0.996, 1.048)],
    0.10: [(0.900, 1.000), (1.000, 1.115), (0.987, 1.097), (0.931, 1.034)],
    0.20: [(0.804, 1.000), (0.999, 1.246), (0.889, 1.112), (0.800, 1.001)],
    0.50: [(0.497, 1.000), (0.936, 1.873), (0.557, 1.114), (0.501, 1.000)],
    1.00: [(0.000, 1.000), (0.000, 4.000), (0.000, 1.115), (0.000, 1.000)],
}
CELLS = [(p, policy, *cell) for p, row in R3.items() for policy, cell in zip(POLICIES, row, strict=True)]


def failing(p: float, retries: Retries, clients: int) -> Results:
    """Each client 10 requests a second for 30 s; no capacity can be exceeded. The gateway tries once: who retries is the client."""
    server = Server("a", Service(ttft=Law("exponential", 0.02), error_rate=p), seed=SEED)
    return simulate(
        one_target("a", {"max_attempts": 1, "budget": OFF}),
        poisson(10.0 * clients, 30.0, Random(SEED)),
        make=lambda _: server,
        clients=Clients(count=clients, retries=retries),
    )


def check(p: float, policy: str, served: float, load: float, clients: int) -> None:
    called = failing(p, POLICIES[policy], clients)
    found = called.goodput(0, END), called.insistence(0, END)
    print(f"seed {SEED}, p {p}, {policy}: {found[0]:.3f}/{found[1]:.3f}, published {served:.3f}/{load:.3f}")
    assert found == (pytest.approx(served, abs=0.01), pytest.approx(load, abs=0.01))


# As many as it takes to be within 0.01 : a share near 0 or 1 varies less, and 1 does not at all.
ENOUGH = {0.01: 15, 0.05: 15, 1.0: 5}


@pytest.mark.parametrize(("p", "policy", "served", "load"), CELLS)
def test_r3_every_cell_with_some_of_the_clients(p, policy, served, load):
    check(p, policy, served, load, clients=ENOUGH.get(p, 34))


@long
@pytest.mark.parametrize(("p", "policy", "served", "load"), CELLS)
def test_r3_every_cell_with_a_hundred_clients(p, policy, served, load):
    check(p, policy, served, load, clients=100)


@pytest.mark.parametrize("p", [0.2, 1.0])
def test_r3_three_retries_of_the_gateway_cost_what_the_closed_form_says(p):
    called = by_gateway(p, {"max_attempts": 4, "budget": OFF})
    load = (1 - p**4) / (1 - p) if p < 1 else 4.0
    assert called.goodput(0, END) == pytest.approx(1 - p**4, abs=0.01)
    assert called.amplification(0, END) == pytest.approx(load, abs=0.015)


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5, 1.0])
def test_r3_a_budget_of_the_gateway_bounds_the_load_and_costs_success_only_where_retries_are_many(p):
    called = by_gateway(p, {"max_attempts": 4, "budget": {"ratio": 0.1}})
    load = called.amplification(0, END)
    print(f"seed {SEED}, p {p}: {called.goodput(0, END):.3f}, {load:.3f}")
    assert load <= 1.1 + 10 / len(called)
    if p > 0.1:  # all that it pays for is used, and each retry succeeds as often as a first attempt does
        assert load == pytest.approx(1.1, abs=0.005)
        assert called.goodput(0, END) == pytest.approx((1 - p) * 1.1, abs=0.01)
    else:
        assert called.goodput(0, END) >= 0.995


def by_gateway(p: float, retry: dict[str, Any]) -> Results:
    """1,000 calls a second for 10 s."""
    server = Server("a", Service(ttft=Law("constant", 0.01), error_rate=p), seed=SEED)
    return simulate(one_target("a", retry), poisson(1000.0, 10.0, Random(SEED)), make=lambda _: server)


# --- R6: Brooker, "Exponential backoff and jitter" (AWS, 2015) ----------------------------------------------------------

# By clients: (writes, milliseconds) for each of WAITS.
R6 = {
    10: {"none": (50, 371), "expo": (49, 3138), "equal": (43, 706), "full": (39, 449), "decorr": (38, 436)},
    50: {"none": (690, 1143), "expo": (616, 36449), "equal": (348, 4166), "full": (333, 2895), "decorr": (370, 2217)},
    100: {
        "none": (2424, 2018),
        "expo": (1858, 63514),
        "equal": (811, 6594),
        "full": (797, 4962),
        "decorr": (1006, 4810),
    },
}


def contended(clients: int) -> dict[str, tuple[float, float]]:
    found = {}
    for wait in WAITS:
        runs = [contend(clients, wait, Random(f"{SEED}/{clients}/{wait}/{number}")) for number in range(30)]
        found[wait] = fmean(run.calls for run in runs), 1000 * fmean(run.seconds for run in runs)
    print(f"seed {SEED}, {clients} clients:", found)
    return found


@pytest.mark.parametrize("clients", R6)
def test_r6_the_table_and_jitter_saves_more_than_half(clients):
    found = contended(clients)
    for wait, (calls, milliseconds) in R6[clients].items():
        assert found[wait][0] == pytest.approx(calls, rel=0.05, abs=4), wait
        assert found[wait][1] == pytest.approx(milliseconds, rel=0.2), wait
    if clients == 100:
        calls = {wait: found[wait][0] for wait in WAITS}
        assert calls["none"] > calls["expo"] > calls["decorr"] > calls["equal"] >= calls["full"]
        assert calls["full"] / calls["expo"] <= 0.5


# --- R7: Dean and Barroso, "The Tail at Scale" (2013) -------------------------------------------------------------------


def hedging(hedge: dict[str, Any] | None, law: Law) -> Results:
    """50 calls a second for 300 s to two alike."""
    route = {"model": "m", "targets": [{"provider": "a"}, {"provider": "b"}], **({"hedge": hedge} if hedge else {})}
    settings = {
        "seed": SEED,
        "providers": [{"name": "a", "kind": "echo"}, {"name": "b", "kind": "echo"}],
        "routes": [route],
        "defaults": NO_PROTECTIONS,
        "shedding": OFF,
    }
    service = Service(ttft=law)
    times = poisson(50.0, 300.0, Random(SEED))
    return simulate(settings, times, make=lambda entry: Server(entry.name, service, seed=SEED), stream=True)


@pytest.mark.parametrize("law", [Law("lognormal", 0.2, 0.6), Law("pareto", 0.1, 1.5)], ids=["lognormal", "pareto"])
def test_r7_a_hedge_at_p95_costs_a_twentieth_and_cuts_the_tail(law):
    without, hedged = hedging(None, law), hedging({"after": "p95", "max_share": 0.05}, law)
    settled = 20.0  # by then the quantile is known
    extra = hedged.amplification(settled, END) - 1.0
    tails = [[called.quantile(q, settled, END, of="first") for q in (0.99, 0.999)] for called in (without, hedged)]
    print(f"seed {SEED}: {extra:.2%} more attempts; p99 and p99.9 without and with: {tails}")
    assert hedged.goodput(0, END) == pytest.approx(1.0)
    assert 0.04 <= extra <= 0.06
    assert tails[1][0] < tails[0][0]
    assert tails[1][1] < 0.8 * tails[0][1]


def test_r7_one_slow_leaf_in_a_hundred_is_met_by_63_in_a_hundred_fan_outs():
    rng = Random(SEED)
    slow = [any(rng.random() < 0.01 for _ in range(100)) for _ in range(5_000)]
    assert fmean(slow) == pytest.approx(0.63, abs=0.02)
