"""R1: Bronson and others, "Metastable Failures in Distributed Systems" (HotOS'21), section 2.1.

A server of 300 calls a second, first come, first served, which works for callers who have gone, too; a time-out of 1 s, one retry.
It stands still from 60 to 70 s. Where a rate is all that counts, everything runs at a twentieth: rates, and what a rate does in a
second, are divided by 20, while times stay what they are. Not so with the defaults, whose windows count calls.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from rich.table import Table

from bench.published.drawing import BLUE, GREY, VERMILION, changes, panels
from bench.published.experiment import SEED, Experiment, headed, second
from bench.simulated import OFF, one_target, simulate
from router.sim.arrivals import regular
from router.sim.levels import Levels
from router.sim.results import Results
from router.sim.server import Server
from router.sim.service import Service

CAPACITY, BUSY = 300.0, 280.0
STOPS, GOES_ON = 60.0, 70.0
OUTAGE = Levels.steps((0.0, 1.0), (STOPS, 0.0), (GOES_ON, 1.0))
TWENTIETH = 1 / 20
FULL = 1.0
RECOVERED = 0.999
WINDOW = 5.0  # seconds: at a twentieth a second has as few as seven calls
SHOWN = 600.0

Protections = Mapping[str, Any]
ONE_RETRY: Protections = {"max_attempts": 2, "backoff": {"base": 0.0}}
BARE_RETRY: Protections = {**ONE_RETRY, "budget": OFF, "concurrency": OFF, "dont_retry": OFF}
BARE: Protections = {"breaker": OFF, "throttle": OFF, "concurrency": OFF, "retry": BARE_RETRY}
ON: Protections = {}
DEFAULTS: Protections = {"retry": ONE_RETRY}


def retrying(**retry: Any) -> Protections:
    """Nothing on, but what concerns retries."""
    return {**BARE, "retry": {**BARE_RETRY, **retry}}


def database(
    rate: float,
    seconds: float,
    scale: float = FULL,
    defaults: Protections = BARE,
    *,
    shedding: Protections = OFF,
    patience: float | None = None,
) -> Results:
    """``rate`` calls a second, before they are scaled. With ``patience`` the server leaves out what it could not finish in time."""
    server = Server("db", Service(rate=CAPACITY * scale, capacity=OUTAGE, patience=patience))
    settings = one_target("db", {**defaults, "timeouts": {"attempt": 1.0}}, seed=SEED, shedding=shedding)
    return simulate(settings, regular(rate * scale, seconds), make=lambda _: server)


class Case(NamedTuple):
    """``published``: by which second it had recovered, None if it never does; "" if nothing is published."""

    title: str
    rate: float
    seconds: float
    scale: float
    defaults: Protections
    published: float | str | None
    shedding: Protections = OFF
    patience: float | None = None

    def run(self) -> Results:
        on = self.defaults
        return database(self.rate, self.seconds, self.scale, on, shedding=self.shedding, patience=self.patience)


def _naive(rate: float, seconds: float, published: float | None) -> Case:
    return Case(f"{rate:.0f} calls/s, one retry", rate, seconds, TWENTIETH, BARE, published)


def _budget(ratio: float, seconds: float, published: float | str | None) -> Case:
    title = f"{BUSY:.0f} calls/s, budget {ratio:.2f}"
    return Case(title, BUSY, seconds, TWENTIETH, retrying(budget={"ratio": ratio}), published)


def _cure(title: str, defaults: Protections, published: float | str | None = "", **more: Any) -> Case:
    seconds = more.pop("seconds", 150.0)
    return Case(f"{BUSY:.0f} calls/s, {title}", BUSY, seconds, FULL, defaults, published, **more)


WITH_DEFAULTS = _cure("Breakwater's defaults", DEFAULTS, shedding=ON, seconds=SHOWN)
CASES = (
    _naive(120.0, 200.0, 110.0),
    _naive(140.0, SHOWN, 300.0),
    _naive(145.0, SHOWN, 400.0),
    _naive(148.0, 1000.0, 900.0),
    _naive(149.0, 1600.0, 1500.0),
    _naive(151.0, 1000.0, None),
    _naive(155.0, SHOWN, None),
    _naive(BUSY, SHOWN, None),
    _budget(0.02, 1500.0, 1500.0),
    _budget(0.05, 1500.0, 1500.0),
    _budget(0.06, 1500.0, 1500.0),
    _budget(0.08, 1500.0, None),
    _budget(0.10, 1500.0, None),
    _budget(0.20, 1500.0, None),
    _cure("no retries", retrying(max_attempts=1), 1500.0, seconds=260.0),
    _cure("one retry, dead work left out", BARE, 1500.0, patience=1.0),
    _cure("every protection of retries", {**BARE, "retry": ONE_RETRY}),
    _cure("only the throttle", {**BARE, "throttle": ON}),
    _cure("only the breaker", {**BARE, "breaker": ON}),
    _cure("only the concurrency limit", {**BARE, "concurrency": ON}),
    _cure("the defaults without breaker and limit", {**DEFAULTS, "breaker": OFF, "concurrency": OFF}, shedding=ON),
    WITH_DEFAULTS,
)
DRAWN = (
    "140 calls/s, one retry",
    "145 calls/s, one retry",
    "151 calls/s, one retry",
    "280 calls/s, one retry",
    "280 calls/s, budget 0.10",
    "280 calls/s, budget 0.05",
    WITH_DEFAULTS.title,
)


def table(found: Mapping[Hashable, Results]) -> Table:
    told = headed(
        "R1  a server of 300 calls/s stands still from 60 to 70 s",
        "",
        "recovered, published",
        "here",
        "attempts a call, at the end",
    )
    for case in CASES:
        called = found[case.title]
        load = called.amplification(case.seconds - 50.0, case.seconds - 5.0)
        told.add_row(case.title, _published(case.published), second(recovery(called)), f"{load:.2f}")
    return told


def recovery(called: Results) -> float | None:
    return called.recovered(GOES_ON, RECOVERED)


def _published(by: float | str | None) -> str:
    return by if isinstance(by, str) else f"by {second(by)}" if by else second(by)


def draw(found: Mapping[Hashable, Results]) -> Figure:
    """A strip for each case: the share that is served, over time."""
    figure, strips = panels(len(DRAWN), 1, 6.6, sharex=True)
    for axes, title in zip(strips, DRAWN, strict=True):
        called = found[title]
        served = [window for window in called.series(WINDOW) if window.arrived and window.at < SHOWN]
        back = recovery(called)
        colour = VERMILION if back is None else BLUE
        times, shares = changes(
            [window.at for window in served], [100.0 * window.ok / window.arrived for window in served]
        )
        axes.axvspan(STOPS, GOES_ON, color=GREY, linewidth=0)
        axes.fill_between(times, shares, step="post", color=colour, alpha=0.25, linewidth=0)
        axes.step(times, shares, where="post", color=colour)
        axes.set_title(f"{title}: {_back(back)}")
        axes.set(ylim=(-4, 108), yticks=(0, 100), xlim=(0, SHOWN))
    figure.supylabel("% of the calls served", fontsize="medium")
    strips[-1].set_xlabel("seconds; the server stands still in the grey ones")
    return figure


def _back(moment: float | None) -> str:
    return "nobody is served again" if moment is None else f"all are served again from {moment:.0f} s on"


RUNS: Mapping[Hashable, Callable[[], Results]] = {case.title: partial(Case.run, case) for case in CASES}
R1 = Experiment("a collapse that stays", RUNS, table, draw)
