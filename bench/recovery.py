"""python -m bench.recovery: what the defaults get over, and how soon: every kind of trouble with every kind of client, on the virtual clock.

Servers of 50 slots and half a second a call are used to three quarters. For twenty seconds they stand still, or do 30 %, or answer 500,
or get two and a half times as many calls; then all is as before. How long until 95 % of the calls are served again, for good?
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.box import HORIZONTALS
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from app.drills.load import planned
from app.drills.run import run
from app.drills.seen import Span

SEED = 1
RATE = 70.0  # a second, for each server
BEGINS, ENDS, DURATION = 30.0, 50.0, 170.0
RECOVERED, WINDOW = 0.95, 5.0
TRIGGERS = {
    "stand still": {"capacity": {"steps": [[0, 1], [BEGINS, 0], [ENDS, 1]]}},
    "do 30 %": {"capacity": {"steps": [[0, 1], [BEGINS, 0.3], [ENDS, 1]]}},
    "answer 500": {},
    "2.5 times the calls": {},
}
CANCELLED = {"works_on": "is worked on", "stops": "is dropped"}
PATIENCE = (3.0, 10.0, 60.0)
RETRIES = (0, 2)


class Cell(NamedTuple):
    """``cancelled``: what a server does for a caller who has gone; ``patience`` of a client, and how often it tries again."""

    trigger: str
    cancelled: str
    patience: float
    retries: int
    stream: bool
    servers: int


CELLS = tuple(itertools.starmap(Cell, itertools.product(TRIGGERS, CANCELLED, PATIENCE, RETRIES, (False, True), (1, 2))))


def scenario(cell: Cell, config: Mapping[str, Any]) -> dict[str, Any]:
    """As a scenario file has it, docs/drills.md. ``config`` over the defaults."""
    rate = RATE * cell.servers
    steps = [[0, rate], [BEGINS, 2.5 * rate], [ENDS, rate]] if cell.trigger == "2.5 times the calls" else [[0, rate]]
    clients: dict[str, Any] = {"count": 1000, "timeout": cell.patience, "retries": cell.retries}
    if cell.retries:
        clients["backoff"] = {"base": 0.5, "cap": 8, "jitter": "sdk"}
    server = {"slots": 50, "ttft": 0.02, "token_interval": 0.024, "tokens": {"lognormal": [20, 0.4]}}
    server |= {"cancelled": cell.cancelled, **TRIGGERS[cell.trigger]}
    names = [f"server-{number}" for number in range(cell.servers)]
    fault = {"at": BEGINS, "for": ENDS - BEGINS, "target": names, "kind": "http_5xx"}
    return {
        "title": " · ".join(map(str, cell)),
        "seed": SEED,
        "duration": DURATION,
        "traffic": [{"arrivals": {"steps": steps}, "stream": cell.stream, "clients": clients}],
        "fleet": [{"name": name, **server} for name in names],
        "faults": [fault] if cell.trigger == "answer 500" else [],
        "config": config,
        "expect": [{"recovers": {"after": ENDS, "to": RECOVERED, "within": 60}}],
    }


def recovery(cell: Cell, config: Mapping[str, Any]) -> float | None:
    """Seconds; None: not by the end."""
    made = planned(json.dumps(scenario(cell, config)), "a cell", Path())  # YAML, too
    return run(made).recovery(Span(ENDS, DURATION), RECOVERED, WINDOW)


def told(found: Mapping[Cell, float | None]) -> Table:
    """The slower of one server and two; plain calls, then streams."""
    table = Table(title="seconds to 95 % again: plain calls / streams", title_justify="left", box=HORIZONTALS)
    table.add_column("for 20 s servers")
    table.add_column("a call whose client left")
    for patience, retries in itertools.product(PATIENCE, RETRIES):
        table.add_column(f"{patience:g} s" + (f", {retries} retries" if retries else ""), justify="right")
    for trigger, cancelled in itertools.product(TRIGGERS, CANCELLED):
        cells = [
            " / ".join(
                _slower([found[Cell(trigger, cancelled, patience, retries, stream, servers)] for servers in (1, 2)])
                for stream in (False, True)
            )
            for patience, retries in itertools.product(PATIENCE, RETRIES)
        ]
        table.add_row(trigger if "times" not in trigger else f"get {trigger}", CANCELLED[cancelled], *cells)
    return table


def _slower(seconds: Sequence[float | None]) -> str:
    known = [each for each in seconds if each is not None]
    return f"{max(known):.0f}" if len(known) == len(seconds) else "never"


@click.command()
@click.option("--config", "config_text", default="{}", help="Gateway settings over the defaults, as JSON.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write what was found here, as JSON.")
def main(config_text: str, out: Path | None) -> None:
    """Every kind of trouble with every kind of client: how long the defaults take to get over it."""
    config = json.loads(config_text)
    console = Console(width=None if sys.stdout.isatty() else 120)
    found: dict[Cell, float | None] = {}
    with Progress(console=console, transient=True) as progress, ProcessPoolExecutor(os.cpu_count()) as pool:
        task = progress.add_task(f"{len(CELLS)} scenarios", total=len(CELLS))
        for cell, seconds in zip(CELLS, pool.map(recovery, CELLS, itertools.repeat(config)), strict=True):
            found[cell] = seconds
            progress.advance(task)
    console.print(told(found))
    if out is not None:
        rows = [{**cell._asdict(), "seconds": seconds} for cell, seconds in found.items()]
        out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
