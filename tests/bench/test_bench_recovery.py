from __future__ import annotations

import io
import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from rich.console import Console

from app.drills.load import planned
from bench import recovery
from bench.recovery import CELLS, DURATION, ENDS, Cell


def test_every_scenario_is_one_that_could_be_a_file() -> None:
    for cell in CELLS:
        made = planned(json.dumps(recovery.scenario(cell, {})), "a cell", Path())
        assert made.scenario.duration == DURATION
        assert (made.trigger is None) == (cell.trigger == "2.5 times the calls")


@pytest.mark.parametrize("trigger", recovery.TRIGGERS)
def test_the_defaults_get_over_it(trigger: str) -> None:
    seconds = recovery.recovery(Cell(trigger, "stops", 10.0, 0, stream=False, servers=1), {})
    assert seconds is not None
    assert seconds <= 30.0


def test_without_protections_a_collapse_stays() -> None:
    """A cell that can be told from one that is got over."""
    off = {"breaker": {"enabled": False}, "concurrency": {"enabled": False}, "throttle": {"enabled": False}}
    config = {"defaults": off, "shedding": {"enabled": False}}
    assert recovery.recovery(Cell("stand still", "works_on", 10.0, 2, stream=False, servers=1), config) is None


def test_the_table_tells_the_slower_and_never() -> None:
    found: dict[Cell, float | None] = {cell: 5.0 * cell.servers for cell in CELLS}
    found[Cell("do 30 %", "stops", 3.0, 2, stream=True, servers=2)] = None
    said = io.StringIO()
    Console(file=said, width=160).print(recovery.told(found))
    (row,) = [line for line in said.getvalue().splitlines() if "do 30 %" in line and "dropped" in line]
    assert "10 / never" in row
    assert row.count("10 / 10") == 5


def test_what_was_found_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inline = nullcontext(SimpleNamespace(map=map))
    monkeypatch.setattr(recovery, "ProcessPoolExecutor", lambda _processes: inline)
    monkeypatch.setattr(recovery, "recovery", lambda cell, config: cell.patience if config else None)
    out = tmp_path / "found.json"
    done = CliRunner().invoke(recovery.main, ["--config", '{"seed": 2}', "--out", str(out)])
    assert done.exit_code == 0, done.output
    rows = json.loads(out.read_text())
    assert len(rows) == len(CELLS)
    assert rows[0] == {**CELLS[0]._asdict(), "seconds": CELLS[0].patience}
    assert ENDS < DURATION
