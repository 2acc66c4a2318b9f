from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress

from app.drills.seen import Span
from bench.published import __main__ as published
from bench.published import backoff, collapse, drawing, drilled, hedging, retries
from bench.published.experiment import Experiment
from router.sim.contention import WAITS
from router.sim.results import Called, Results

MOST_BYTES = 60_000
DOCS = Path(__file__).parents[2] / "docs"


def never_back() -> Results:
    """One call a second until 60 s is served, none after it."""
    results = Results()
    for at in range(200):
        ok = at < 60
        results.add(Called(float(at), None, at + 1.0, ok, 1, 1 if ok else 2, "ok" if ok else "timeout", None))
    return results


# As the runs would have it, but made up: what is drawn and told is looked at here, what is measured in tests/sim.
MADE_UP = {
    "r1": dict.fromkeys(collapse.RUNS, never_back()),
    "r3": dict.fromkeys(retries.RUNS, (0.5, 1.25)),
    "r6": {clients: {wait: backoff.Mean(clients, clients / 10) for wait in WAITS} for clients in backoff.CLIENTS},
    "r7": dict.fromkeys(hedging.RUNS, hedging.Tail([number / 100 for number in range(1, 1001)], 1.05, 1.0)),
    "drills": dict.fromkeys(
        drilled.RUNS, drilled.Drilled(Span(2.0, 3.0), [(0.0, 100.0), (2.0, 0.0), (4.0, 98.0)], None, 1.5, 1, 3)
    ),
}


def told(name: str) -> str:
    said = io.StringIO()
    Console(file=said, width=200).print(published.EXPERIMENTS[name].table(MADE_UP[name]))
    return said.getvalue()


@pytest.mark.parametrize("name", published.EXPERIMENTS)
def test_the_same_figures_make_the_same_bytes_without_a_date(name: str) -> None:
    def draw() -> Figure:
        return published.EXPERIMENTS[name].draw(MADE_UP[name])

    made = drawing.svg(draw)
    assert made == drawing.svg(draw)
    assert ET.fromstring(made).tag.endswith("svg")
    assert b"<dc:date>" not in made
    assert b"#ffffff" in made, "readable on a dark page, too"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("r1", ["120 calls/s, one retry", "by 110 s", "never", "2.00"]),
        ("r3", ["0.936/1.873 | 0.500/1.250", "Breakwater's budget"]),
        ("r6", ["797 (4962) | 100 (10000)", "full jitter"]),
        ("r7", ["p99.9", "5.0%", "10.00"]),
        ("drills", ["retry-storm, protections off", "never", "1 of 3"]),
    ],
)
def test_the_table_says_what_was_found_beside_what_is_published(name: str, said: list[str]) -> None:
    table = told(name)
    assert [words for words in said if words not in table] == []


def test_steps_need_only_what_changes() -> None:
    assert drawing.changes([0, 1, 2, 3, 4], [1, 1, 0, 0, 0]) == ([0, 2, 4], [1, 0, 0])


def test_a_drill_is_told_with_and_without_protections() -> None:
    bare, protected = (drilled.drilled("brownout", on) for on in (False, True))
    assert bare.back is None
    assert bare.held < bare.expected
    assert protected.back is not None
    assert protected.held == protected.expected
    assert protected.load < 1.1 < bare.load


def test_the_runs_are_counted_and_the_picture_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Experiment("quick", {1: lambda: 2, 2: lambda: 3}, published.EXPERIMENTS["r6"].table, lambda _: Figure())
    with Progress(console=Console(file=io.StringIO())) as progress:
        assert published.measured(quick, progress) == {1: 2, 2: 3}
        assert progress.finished
    runs = {clients: lambda row=row: row for clients, row in MADE_UP["r6"].items()}
    monkeypatch.setitem(published.EXPERIMENTS, "r6", backoff.R6._replace(runs=runs))
    done = CliRunner().invoke(published.main, ["--only", "r6", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "published-r6.svg").stat().st_size < MOST_BYTES
    assert "writes (milliseconds" in done.output


def test_an_unknown_experiment_is_refused_with_those_that_there_are() -> None:
    done = CliRunner().invoke(published.main, ["--only", "r1,r2"])
    assert done.exit_code == 2
    assert "unknown: r2; there are r1, r3, r6, r7, drills" in done.output


@pytest.mark.parametrize("name", published.EXPERIMENTS)
def test_each_picture_ships_is_small_and_is_on_the_page(name: str) -> None:
    path = DOCS / "images" / f"published-{name}.svg"
    assert path.stat().st_size < MOST_BYTES
    assert f"](images/{path.name})" in (DOCS / "PUBLISHED.md").read_text()
