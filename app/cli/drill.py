"""breakwater drill: scenarios of what goes wrong, run on the virtual clock, and held to what they expect."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from time import perf_counter

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from app.cli.failing import fail
from app.drills.journal import Record
from app.drills.load import Plan, plan
from app.drills.report import report, summary
from app.drills.run import Progress as Telling
from app.drills.run import run as run_plan
from app.drills.shipped import shipped
from app.drills.verdict import all_held, states, verdicts
from app.settings import SettingsError
from app.settings.problems import nearest
from router.sim.trace import TraceError

NOT_HELD, UNUSABLE = 1, 2
BROKEN_OFF = 130  # as shells say it of whoever ends by an interrupt


@click.group()
def drill() -> None:
    """Run what goes wrong on the virtual clock, and see what holds."""


@drill.command("list")
def list_() -> None:
    """The scenarios that ship, by the name that `drill run` takes."""
    known = shipped()
    width = max(len(name) for name in known)
    for name, path in known.items():
        try:
            title = plan(path).scenario.title
        except SettingsError as error:
            title = f"cannot be run: {error.problems[0]}"
        click.echo(f"{name:{width}}  {title}")


@drill.command()
@click.argument("scenario", metavar="FILE")
@click.option("--virtual", is_flag=True, help="On the virtual clock: the default, and for now the only way.")
@click.option("--live", metavar="ADMIN_URL", help="Against a gateway that runs: not in this version yet.")
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the scenario's own, a whole number.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Write journal.json and events.jsonl there."
)
@click.option("--config", "overrides", type=click.Path(path_type=Path), help="Gateway settings over the scenario's.")
@click.option("--no-protections", is_flag=True, help="Without breakers, budgets, throttles, limits and shedding.")
@click.option("--progress", is_flag=True, help="Show a progress bar where there is no terminal, too.")
def run(
    scenario: str,
    *,
    virtual: bool,
    live: str | None,
    seed: int | None,
    out: Path | None,
    overrides: Path | None,
    no_protections: bool,
    progress: bool,
) -> None:
    """Run FILE, or the scenario of that name that ships, and say what held.

    Exit status 0 if all that it expects held, 1 if not, 2 if it cannot be run, 130 if it was broken off.
    """
    if live is not None:
        how = "cannot be combined with --virtual" if virtual else "is not in this version yet; run it with --virtual"
        fail(f"--live {how}.", status=UNUSABLE)
    try:
        made = plan(_found(scenario), overrides, os.environ, seed=seed, protected=not no_protections)
    except SettingsError as error:
        fail(f"{scenario} cannot be run:", str(error), status=UNUSABLE)
    try:
        with nullcontext() if out is None else closing(Record(out)) as record:
            held = _run(made, record, progress=progress)
    except KeyboardInterrupt:
        fail("Broken off.", "" if out is None else f"Nothing was written to {out}.", status=BROKEN_OFF)
    except OSError as error:
        if out is None:
            raise
        reason = (error.strerror or type(error).__name__).lower()
        fail(f"--out {out} cannot be written: {reason}.", status=UNUSABLE)
    sys.exit(0 if held else NOT_HELD)


def _found(scenario: str) -> Path:
    """A file, or a scenario that ships."""
    path, known = Path(scenario), shipped()
    if path.is_file() or len(path.parts) != 1 or path.suffix:
        return path
    if scenario not in known:
        near = nearest(scenario, known)
        hint = f'Did you mean "{near}"?' if near else f"Those that ship: {', '.join(known)}."
        fail(f"There is no file {scenario}, and no scenario of that name ships.", hint, status=UNUSABLE)
    return known[scenario]


def _run(made: Plan, record: Record | None, *, progress: bool) -> bool:
    """Raises ``OSError`` of the record."""
    began = perf_counter()
    try:
        with _told(made, always=progress) as telling:
            seen = run_plan(made, progress=telling, listen=None if record is None else record.listen)
    except TraceError as error:
        fail("The trace cannot be used:", str(error), status=UNUSABLE)
    seconds = perf_counter() - began
    judged, steady = verdicts(made, seen), states(made, seen)
    console = _console()
    console.print(report(made, judged, steady))
    console.print()
    console.print(summary(made, judged, len(seen.results), seconds))
    if record is not None:
        record.keep(made, judged, steady)
    return all_held(judged)


@contextmanager
def _told(made: Plan, *, always: bool) -> Generator[Telling | None]:
    """A bar on standard error, so that the report can be piped."""
    console = Console(stderr=True, force_terminal=True if always else None)
    if not console.is_terminal:
        yield None
        return
    columns = (
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} virtual s"),
        TextColumn("{task.fields[speed]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=made.scenario.duration, speed="")
        began = perf_counter()

        def tell(now: float, calls: int) -> None:
            bar.update(task, completed=now, speed=f"{calls / max(1e-9, perf_counter() - began):,.0f} calls/s")

        yield tell


def _console() -> Console:
    """Colour only on a terminal; only a terminal has a width to fit into."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 1000)
