"""R6: Brooker, "Exponential backoff and jitter" (AWS, 2015): clients that update one row, by optimistic concurrency control."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from random import Random
from statistics import fmean
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from rich.table import Table

from bench.published.drawing import BLUE, GREEN, INK, ORANGE, VERMILION, panels, plain_numbers
from bench.published.experiment import SEED, Experiment, headed
from router.sim.contention import WAITS, contend

RUNS_EACH = 30
CLIENTS = range(10, 101, 10)
# By clients: (writes, milliseconds) for each of WAITS.
PUBLISHED: Mapping[int, Mapping[str, tuple[float, float]]] = {
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
STYLES = {
    "none": ("no backoff", INK, "o", ":"),
    "expo": ("exponential", VERMILION, "s", "-"),
    "decorr": ("decorrelated jitter", ORANGE, "D", "-."),
    "equal": ("equal jitter", GREEN, "v", "--"),
    "full": ("full jitter (Breakwater's)", BLUE, "^", "-"),
}


class Mean(NamedTuple):
    """Of 30 runs: writes, failed ones too, and the seconds until the last client is done."""

    calls: float
    seconds: float


def contended(clients: int) -> Mapping[str, Mean]:
    """For each of ``WAITS``."""
    found = {}
    for wait in WAITS:
        runs = [contend(clients, wait, Random(f"{SEED}/{clients}/{wait}/{number}")) for number in range(RUNS_EACH)]
        found[wait] = Mean(fmean(run.calls for run in runs), fmean(run.seconds for run in runs))
    return found


def table(found: Mapping[int, Mapping[str, Mean]]) -> Table:
    titles = [title for title, *_ in STYLES.values()]
    told = headed("R6  writes (milliseconds until all are done), published | here", "clients", *titles)
    for clients, row in PUBLISHED.items():
        here = found[clients]
        cells = [
            f"{row[wait][0]} ({row[wait][1]}) | {here[wait].calls:.0f} ({here[wait].seconds * 1000:.0f})"
            for wait in STYLES
        ]
        told.add_row(str(clients), *cells)
    return told


def draw(found: Mapping[int, Mapping[str, Mean]]) -> Figure:
    """Lines are ours; published figures are larger, hollow marks around them."""
    figure, (writes, done) = panels(1, 2, 3.5)
    for wait, (title, colour, marker, line) in STYLES.items():
        ours: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": line, "markersize": 3, "label": title}
        theirs: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "linestyle": "none",
            "markersize": 8,
            "fillstyle": "none",
        }
        writes.plot(list(found), [row[wait].calls for row in found.values()], **ours)
        writes.plot(list(PUBLISHED), [row[wait][0] for row in PUBLISHED.values()], **theirs)
        done.plot(list(found), [row[wait].seconds for row in found.values()], **ours)
        done.plot(list(PUBLISHED), [row[wait][1] / 1000 for row in PUBLISHED.values()], **theirs)
    writes.set_title("writes until all have succeeded once")
    done.set_title("seconds until then")
    done.set_yscale("log")
    plain_numbers(done.yaxis)
    for axes in (writes, done):
        axes.set_xlabel("clients")
    writes.plot([], [], linestyle="none", marker="o", fillstyle="none", color=INK, markersize=8, label="published")
    writes.legend(loc="upper left")
    return figure


RUNS: Mapping[Hashable, Callable[[], Mapping[str, Mean]]] = {
    clients: partial(contended, clients) for clients in CLIENTS
}
R6 = Experiment("what jitter saves", RUNS, table, draw)
