"""Tables for people and one file for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from bench.figures import (
    FIGURES,
    GOALS,
    PLAIN,
    START,
    STREAMS,
    Figure,
    Goal,
    Samples,
    Spread,
    judged,
    merged,
    ratios,
    spread,
)
from bench.servers import DIRECT, ENVOY, FLOOR, GATEWAY

LATEST = Path(__file__).parent / "results" / "latest.json"
COLUMNS = (DIRECT, FLOOR, ENVOY, GATEWAY)
TITLES = {
    PLAIN: "plain requests",
    STREAMS: "streams of 100 chunks, 20 ms apart",
    START: "start and rest",
}
FIGURE = {figure.key: figure for part in FIGURES.values() for figure in part}
VERDICTS = {True: "[green]met[/]", False: "[red]missed[/]", None: f"no {ENVOY}"}
NOTHING = "–"
BUSY = 0.1


def introduce(console: Console, about: Mapping[str, Any]) -> None:
    """What is measured on what; and a warning where others are at work, too."""
    machine = about["machine"]
    console.print(", ".join(f"{name} {number}" for name, number in about["versions"].items()), highlight=False)
    console.print(f"{machine['processor']}, cores: {machine['cores']}, busy before: {machine['busy_before']:.0%}")
    if machine["busy_before"] > BUSY:
        console.print("Others use this machine: trust ratios and CPU figures, not rates and latencies.", style="yellow")


def show(console: Console, samples: Samples, rounds: int) -> None:
    for part, figures in FIGURES.items():
        table = _table(TITLES[part], "", *COLUMNS, f"of {ENVOY}")
        for figure in figures:
            if figure.key in samples:
                table.add_row(f"{figure.title}\n{figure.under}", *_cells(figure, samples[figure.key]))
        if table.row_count:
            console.print(table)
    goals = _table("goals", f"{GATEWAY}'s", "limit", "measured", "")
    for goal in GOALS:
        if goal.figure in samples:
            measured, met = judged(goal, samples)
            figure = FIGURE[goal.figure]
            cell = _spread(measured, 2 if goal.of_envoy else figure.places)
            goals.add_row(f"{figure.title}\n{figure.under}", limit(goal), cell, VERDICTS[met])
    console.print(goals)
    console.print(f"Medians of {rounds} rounds, below them lowest–highest.")
    for count in merged(samples):
        console.print(
            f"At {count:,} streams chunks were merged on their way in some round (see chunks/read): a server that merges "
            "does less for each, so compare its CPU with care. More cores or a quiet machine keep them apart.",
            style="yellow",
        )


def limit(goal: Goal) -> str:
    """As people write it."""
    number = f"{goal.limit:g}" if goal.of_envoy else f"{goal.limit:.{FIGURE[goal.figure].places}f}"
    return f"{'≥' if goal.at_least else '≤'} {number}{f' × {ENVOY}' if goal.of_envoy else ''}"


def write(samples: Samples, about: Mapping[str, Any], path: Path = LATEST) -> None:
    """``about`` says what was measured and how; the verdicts are for whoever reads no tables."""
    goals = []
    for goal in GOALS:
        measured, met = judged(goal, samples)
        goals.append({"figure": goal.figure, "limit": limit(goal), "median": measured and measured.median, "met": met})
    path.write_text(json.dumps({**about, "goals": goals, "samples": samples}, indent=1) + "\n")


def _table(title: str, first: str, *others: str) -> Table:
    """Narrow enough for 80 columns."""
    table = Table(title=title, show_lines=True, box=HORIZONTALS, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for header in others:
        table.add_column(header.replace(" + ", "\n+ "), justify="right", no_wrap=True)
    return table


def _cells(figure: Figure, values: Mapping[str, Sequence[float]]) -> list[str]:
    cells = [_spread(spread(values.get(name, [])), figure.places, figure.per) for name in COLUMNS]
    if GATEWAY not in values or ENVOY not in values:
        return [*cells, NOTHING]
    return [*cells, f"{statistics.median(ratios(values[GATEWAY], values[ENVOY])):.2f}"]


def _spread(values: Spread | None, places: int, per: float = 1.0) -> str:
    if values is None:
        return NOTHING
    median, low, high = (f"{value / per:,.{places}f}" for value in (values.median, values.low, values.high))
    return f"{median}\n[dim]{low}–{high}[/]"
