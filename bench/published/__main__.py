"""python -m bench.published: published results, once more, on the virtual clock; tables, and the pictures of docs/PUBLISHED.md."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.published.backoff import R6
from bench.published.collapse import R1
from bench.published.drawing import save
from bench.published.drilled import DRILLS
from bench.published.experiment import Experiment
from bench.published.hedging import R7
from bench.published.retries import R3

IMAGES = Path(__file__).parents[2] / "docs" / "images"
EXPERIMENTS: Mapping[str, Experiment] = {"r1": R1, "r3": R3, "r6": R6, "r7": R7, "drills": DRILLS}


def measured(experiment: Experiment, progress: Progress) -> dict[Hashable, Any]:
    task = progress.add_task(experiment.title, total=len(experiment.runs))
    found = {}
    for key, run in experiment.runs.items():
        found[key] = run()
        progress.advance(task)
    return found


def _names(_context: click.Context, option: click.Parameter, given: str | None) -> list[str]:
    names = list(EXPERIMENTS) if given is None else [name.strip() for name in given.split(",")]
    unknown = [name for name in names if name not in EXPERIMENTS]
    if unknown:
        raise click.BadParameter(f"unknown: {', '.join(unknown)}; there are {', '.join(EXPERIMENTS)}", param=option)
    return names


@click.command()
@click.option("--only", callback=_names, metavar="r1,r3,…", help=f"Of {', '.join(EXPERIMENTS)}. Default: all.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=IMAGES, help="Where pictures go.")
def main(only: list[str], out: Path) -> None:
    """Published results beside ours, and a picture of each."""
    console = Console(highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    began = time.perf_counter()
    with Progress(*columns, console=console, transient=True) as progress:
        for name in only:
            experiment = EXPERIMENTS[name]
            found = measured(experiment, progress)
            console.print(experiment.table(found))
            path = out / f"published-{name}.svg"
            size = save(partial(experiment.draw, found), path)
            console.print(f"{path.name}: {size / 1000:.0f} kB\n")
    console.print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
