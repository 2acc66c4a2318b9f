"""R7: Dean and Barroso, "The Tail at Scale" (2013): a second attempt for the slowest twentieth."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from random import Random
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from rich.table import Table

from bench.published.drawing import BLUE, VERMILION, panels, plain_numbers
from bench.published.experiment import SEED, Experiment, headed
from bench.simulated import END, OFF, simulate
from providers.law import Law
from router.sim.arrivals import poisson
from router.sim.results import Results
from router.sim.server import Server
from router.sim.service import Service

SETTLED = 20.0  # seconds: by then the quantile is known
HEDGE: Mapping[str, Any] = {"after": "p95", "max_share": 0.05}
LAWS = {"lognormal": Law("lognormal", 0.2, 0.6), "heavy tail (Pareto, alpha 1.5)": Law("pareto", 0.1, 1.5)}
LOOKS = {False: ("one attempt", VERMILION, "--"), True: ("a hedge at p95, for at most 5 %", BLUE, "-")}
QUANTILES = (0.5, 0.9, 0.99, 0.999)
POINTS = 120  # of a line, spaced so that each decade of the tail has as many


class Tail(NamedTuple):
    """``first``: seconds to the first content, in order."""

    first: list[float]
    attempts: float
    served: float

    def quantile(self, q: float) -> float:
        return self.first[min(len(self.first) - 1, int(q * len(self.first)))]


def hedging(hedge: Mapping[str, Any] | None, law: Law) -> Results:
    """50 streams a second for 300 s, to two servers that are alike."""
    route = {"model": "m", "targets": [{"provider": "a"}, {"provider": "b"}], **({"hedge": hedge} if hedge else {})}
    settings = {
        "seed": SEED,
        "providers": [{"name": "a", "kind": "echo"}, {"name": "b", "kind": "echo"}],
        "routes": [route],
        "defaults": {"breaker": OFF, "throttle": OFF, "concurrency": OFF},
        "shedding": OFF,
    }
    service = Service(ttft=law)
    times = poisson(50.0, 300.0, Random(SEED))
    return simulate(settings, times, make=lambda entry: Server(entry.name, service, seed=SEED), stream=True)


def tail(hedged: bool, law: Law) -> Tail:
    called = hedging(HEDGE if hedged else None, law)
    first = sorted(
        each.began - each.arrived for each in called if each.began is not None and each.ok and each.arrived >= SETTLED
    )
    return Tail(first, called.amplification(SETTLED, END), called.goodput(0.0, END))


def table(found: Mapping[tuple[str, bool], Tail]) -> Table:
    headings = [f"p{100 * q:g}" for q in QUANTILES]
    told = headed(
        "R7  seconds to the first token; published: at most 5 % more attempts", "", *headings, "more attempts"
    )
    for (law, hedged), seen in found.items():
        quantiles = [f"{seen.quantile(q):.2f}" for q in QUANTILES]
        told.add_row(f"{law}, {LOOKS[hedged][0]}", *quantiles, f"{seen.attempts - 1:.1%}")
    return told


def draw(found: Mapping[tuple[str, bool], Tail]) -> Figure:
    """How many wait for longer."""
    figure, axes_of = panels(1, 2, 3.3, sharey=True)
    for axes, law in zip(axes_of, LAWS, strict=True):
        for hedged, (title, colour, line) in LOOKS.items():
            first = found[law, hedged].first
            rarer = (len(first) ** (-number / POINTS) for number in range(POINTS + 1))
            kept = sorted({min(len(first) - 1, int((1 - share) * len(first))) for share in rarer})
            longer = [100 * (len(first) - number) / len(first) for number in kept]
            axes.plot([first[number] for number in kept], longer, color=colour, linestyle=line, label=title)
        axes.set(xscale="log", yscale="log", xlabel="seconds to the first token", title=law)
        plain_numbers(axes.xaxis, axes.yaxis)
        axes.axhline(5.0, color="#888888", linewidth=0.8, linestyle=":")
    axes_of[0].set_ylabel("% of the calls that wait for longer")
    axes_of[0].legend(loc="lower left")
    return figure


RUNS: Mapping[Hashable, Callable[[], Tail]] = {
    (law, hedged): partial(tail, hedged, LAWS[law]) for law in LAWS for hedged in LOOKS
}
R7 = Experiment("what a hedge gains", RUNS, table, draw)
