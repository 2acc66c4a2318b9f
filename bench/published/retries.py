"""R3: Brooker, "Fixing retries with token buckets and circuit breakers" (2022): what retries cost where failures have nothing to do
with load, and what holds them back.

Of the published 100 clients as many run here as it takes to be within 0.01: each counts its failures for itself, and a share near 0
or 1 varies less.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from random import Random
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from bench.published.drawing import BLUE, GREEN, INK, ORANGE, VERMILION, panels
from bench.published.experiment import SEED, Experiment, headed
from bench.simulated import END, OFF, one_target, simulate
from providers.law import Law
from router.sim.arrivals import poisson
from router.sim.clients import Clients
from router.sim.results import Results
from router.sim.retries import Jitter, Retries, RetryTokens
from router.sim.server import Server
from router.sim.service import Service


def _again(count: int, **law: Any) -> Retries:
    return Retries(count=count, base=0.0, cap=0.0, jitter=Jitter.NONE, honours=False, **law)


POLICIES: Mapping[str, Retries] = {
    "none": _again(0),
    "three retries": _again(3),
    "adaptive": _again(1000, budget=RetryTokens(0.1, 5.0)),
    "breaker": _again(3, stop_above=0.1),
}
# By how many attempts fail: (share served, attempts a request), in the order of POLICIES.
PUBLISHED: Mapping[float, list[tuple[float, float]]] = {
    0.01: [(0.990, 1.000), (1.000, 1.010), (1.000, 1.010), (1.000, 1.010)],
    0.05: [(0.951, 1.000), (1.000, 1.052), (1.000, 1.054), (0.996, 1.048)],
    0.10: [(0.900, 1.000), (1.000, 1.115), (0.987, 1.097), (0.931, 1.034)],
    0.20: [(0.804, 1.000), (0.999, 1.246), (0.889, 1.112), (0.800, 1.001)],
    0.50: [(0.497, 1.000), (0.936, 1.873), (0.557, 1.114), (0.501, 1.000)],
    1.00: [(0.000, 1.000), (0.000, 4.000), (0.000, 1.115), (0.000, 1.000)],
}
CELLS = [(p, policy, *cell) for p, row in PUBLISHED.items() for policy, cell in zip(POLICIES, row, strict=True)]
ALL_CLIENTS = 100
BUDGET = "Breakwater's budget"
BUDGETED: Mapping[str, Any] = {"max_attempts": 4, "budget": {"ratio": 0.1}}
BARE: Mapping[str, Any] = {"breaker": OFF, "throttle": OFF, "concurrency": OFF}
AT_ONCE: Mapping[str, Any] = {"backoff": {"base": 0.0}, "concurrency": OFF, "dont_retry": OFF}
STYLES = {
    "none": (INK, "o", ":"),
    "three retries": (VERMILION, "s", "-"),
    "adaptive": (BLUE, "^", "-"),
    "breaker": (ORANGE, "D", "--"),
    BUDGET: (GREEN, "v", "-."),
}

Found = Mapping[tuple[float, str], tuple[float, float]]


def failing(p: float, retries: Retries, clients: int) -> Results:
    """Each client 10 requests a second for 30 s; no capacity can be exceeded. The gateway tries once: who retries is the client."""
    server = Server("a", Service(ttft=Law("exponential", 0.02), error_rate=p), seed=SEED)
    return simulate(
        _settings({"max_attempts": 1, "budget": OFF}),
        poisson(10.0 * clients, 30.0, Random(SEED)),
        make=lambda _: server,
        clients=Clients(count=clients, retries=retries),
    )


def by_gateway(p: float, retry: Mapping[str, Any]) -> Results:
    """1,000 calls a second for 10 s; who retries is the gateway."""
    server = Server("a", Service(ttft=Law("constant", 0.01), error_rate=p), seed=SEED)
    return simulate(_settings(retry), poisson(1000.0, 10.0, Random(SEED)), make=lambda _: server)


def _settings(retry: Mapping[str, Any]) -> dict[str, Any]:
    return one_target("a", {**BARE, "retry": {**AT_ONCE, **retry}}, seed=SEED, shedding=OFF)


def enough(p: float) -> int:
    return {0.01: 15, 0.05: 15, 1.0: 5}.get(p, 34)


def cell(p: float, policy: str, clients: int) -> tuple[float, float]:
    """The share served, and attempts a request."""
    called = failing(p, POLICIES[policy], clients)
    return called.goodput(0, END), called.insistence(0, END)


def _budgeted(p: float) -> tuple[float, float]:
    called = by_gateway(p, BUDGETED)
    return called.goodput(0, END), called.amplification(0, END)


def table(found: Found) -> Table:
    told = headed("R3  share served / attempts a call, published | here", "attempts that fail", *POLICIES, BUDGET)
    for p, row in PUBLISHED.items():
        cells = [
            f"{_pair(published)} | {_pair(found[p, policy])}" for policy, published in zip(POLICIES, row, strict=True)
        ]
        told.add_row(f"{p:.0%}", *cells, _pair(found[p, BUDGET]))
    return told


def _pair(figures: tuple[float, float]) -> str:
    return f"{figures[0]:.3f}/{figures[1]:.3f}"


def draw(found: Found) -> Figure:
    """Lines are ours; published figures are larger, hollow marks around them."""
    figure, (success, load) = panels(1, 2, 3.5)
    rates = list(PUBLISHED)
    for column, policy in enumerate((*POLICIES, BUDGET)):
        colour, marker, line = STYLES[policy]
        look: dict[str, Any] = {"color": colour, "marker": marker}
        for part, axes in enumerate((success, load)):
            ours = [found[p, policy][part] for p in rates]
            axes.plot(rates, ours, linestyle=line, markersize=3, label=policy, **look)
            if policy in POLICIES:
                published = [row[column][part] for row in PUBLISHED.values()]
                axes.plot(rates, published, linestyle="none", markersize=8, fillstyle="none", **look)
    for axes in (success, load):
        axes.set_xscale("log")
        axes.set_xticks(rates, [f"{p:.0%}" for p in rates])
        axes.minorticks_off()
        axes.set_xlabel("attempts that fail")
    success.set_title("share of the calls that are served")
    load.set_title("attempts for each call")
    load.plot([], [], linestyle="none", marker="o", fillstyle="none", color=INK, markersize=8, label="published")
    load.legend(loc="upper left")
    return figure


RUNS: Mapping[Hashable, Callable[[], tuple[float, float]]] = {
    **{(p, policy): partial(cell, p, policy, enough(p)) for p in PUBLISHED for policy in POLICIES},
    **{(p, BUDGET): partial(_budgeted, p) for p in PUBLISHED},
}
R3 = Experiment("what retries cost", RUNS, table, draw)
