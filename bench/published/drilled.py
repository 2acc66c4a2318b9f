"""The collapses that ship as drills, each with Breakwater's defaults and with every protection off."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from rich.table import Table

from app.drills.load import plan
from app.drills.run import run
from app.drills.seen import Span
from app.drills.shipped import shipped
from app.drills.verdict import verdicts
from bench.published.drawing import BLUE, GREY, VERMILION, changes, panels
from bench.published.experiment import Experiment, headed, second

NAMES = ("hotos21-collapse", "retry-storm", "impatient-clients", "brownout", "correlated-outage")
LOOKS = {False: ("protections off", VERMILION, (0, (4, 1.5))), True: ("Breakwater's defaults", BLUE, "-")}
WINDOW = 1.0
RECOVERED = 0.95


class Drilled(NamedTuple):
    """``served``: (second, percent), where anything came. ``back``: seconds after the trigger until it is over 95 % for good."""

    trigger: Span
    served: list[tuple[float, float]]
    back: float | None
    load: float
    held: int
    expected: int


def drilled(name: str, protected: bool) -> Drilled:
    made = plan(shipped()[name], protected=protected)
    seen = run(made)
    assert made.trigger is not None, f"nothing happens in {name}"
    ends = made.scenario.duration
    held = [verdict.held for verdict in verdicts(made, seen)]
    return Drilled(
        made.trigger,
        [(each.at, 100.0 * each.ok / each.arrived) for each in seen.results.series(WINDOW) if each.arrived],
        seen.recovery(Span(made.trigger.ends, ends), RECOVERED, WINDOW),
        seen.amplification(Span(made.trigger.begins, ends)) or 0.0,
        sum(held),
        len(held),
    )


def table(found: Mapping[tuple[str, bool], Drilled]) -> Table:
    told = headed(
        "the collapses that ship",
        "",
        "over 95 % again after",
        "attempts a call, from the trigger on",
        "expectations held",
    )
    for (name, protected), seen in found.items():
        told.add_row(
            f"{name}, {LOOKS[protected][0]}", second(seen.back), f"{seen.load:.2f}", f"{seen.held} of {seen.expected}"
        )
    return told


def draw(found: Mapping[tuple[str, bool], Drilled]) -> Figure:
    """The share of the calls that are served, second by second."""
    figure, (*axes_of, free) = panels(2, 3, 4.6, sharey=True)
    for axes, name in zip(axes_of, NAMES, strict=True):
        for protected, (title, colour, line) in LOOKS.items():
            seen = found[name, protected]
            times, shares = changes(*zip(*seen.served, strict=True))
            axes.step(times, shares, where="post", color=colour, linestyle=line, label=title)
        begins, ends = found[name, True].trigger
        axes.axvspan(begins, ends, color=GREY, linewidth=0)
        axes.set(title=name, ylim=(-4, 104), xlim=(0, found[name, True].served[-1][0]), xlabel="seconds")
    free.axis("off")
    shown = [*axes_of[0].get_legend_handles_labels()[0], Patch(color=GREY, label="what is done to the servers")]
    free.legend(handles=shown, loc="center left", frameon=False)
    for axes in axes_of[::3]:
        axes.set_ylabel("% of the calls served")
    return figure


RUNS: Mapping[Hashable, Callable[[], Drilled]] = {
    (name, protected): partial(drilled, name, protected) for name in NAMES for protected in LOOKS
}
DRILLS = Experiment("collapses, with and without protections", RUNS, table, draw)
