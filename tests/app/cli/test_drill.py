"""breakwater drill: what it prints, what it leaves, and how it ends."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from waiting import wait_until

from app.cli.main import main
from app.drills.shipped import shipped

ROOT = Path(__file__).parents[3]
GOOD = """\
title: One of two is out
seed: 7
duration: 60
traffic:
  - arrivals: {constant: 20}
fleet:
  - {name: a, ttft: 0.05}
  - {name: b, ttft: 0.05}
faults:
  - {at: 20, for: 10, target: a, kind: http_5xx, statuses: [503]}
expect:
  - goodput: {phase: after, at_least: 0.99}
"""
FIGURES = re.compile(r"[\d,]+ calls in 60 virtual s took [\d.]+ s \([\d,]+ calls/s\), seed (\d+)")


@pytest.fixture
def drill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """``drill(text, *arguments)``: the text is in x.yaml, of the working directory."""
    monkeypatch.chdir(tmp_path)

    def run(text: str, *arguments: str) -> Result:
        (tmp_path / "x.yaml").write_text(text)
        result = CliRunner().invoke(main, ["drill", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run


def test_what_held_is_shown(drill: Callable[..., Result]) -> None:
    result = drill(GOOD, "run", "x.yaml", "--virtual")
    assert result.exit_code == 0, result.output
    lines = [line.rstrip() for line in result.output.splitlines()]
    assert lines[0] == "One of two is out"
    assert lines[2].split() == [
        "phase",
        "seconds",
        "goodput",
        "availability",
        "amplification",
        "ttft",
        "p50",
        "latency",
        "p50",
    ]
    assert [line.split()[:4] for line in lines[3:6]] == [
        ["before", "0–20", "100.0%", "100.0%"],
        ["during", "20–30", "100.0%", "100.0%"],
        ["after", "30–60", "100.0%", "100.0%"],
    ]
    assert lines[8].split() == ["held", "goodput", "≥", "99.0%", "30–60", "100.0%"]
    assert lines[-1].startswith("1 of 1 held; ")
    assert FIGURES.search(lines[-1])[1] == "7"
    assert "\x1b" not in result.output


def test_what_did_not_hold_ends_with_1(drill: Callable[..., Result]) -> None:
    result = drill(GOOD.replace("at_least: 0.99", "at_most: 0.5"), "run", "x.yaml")
    assert result.exit_code == 1
    assert re.search(r"NOT HELD +goodput +≤ 50.0% +30–60 +100.0%", result.output)
    assert "0 of 1 held; " in result.output


def test_a_file_that_cannot_be_used_ends_with_2_and_every_problem(drill: Callable[..., Result]) -> None:
    result = drill(GOOD.replace("kind:", "share: 2, kind:").replace("name: b", "nam: b"), "run", "x.yaml")
    assert result.exit_code == 2
    assert result.output.splitlines() == [
        "x.yaml cannot be run:",
        'x.yaml:8: fleet[1].nam: unknown key; did you mean "name"?',
        "x.yaml:8: fleet[1].name: is missing",
        "x.yaml:10: faults[0].share: must be less than or equal to 1",
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["failoverr"], 'Did you mean "failover"?'),
        (["zzz"], "Those that ship: aws-2025-10-20, "),
        (["none.yaml"], "none.yaml: cannot be read: no such file or directory"),
        (["x.yaml", "--config", "none.yaml"], "none.yaml: cannot be read: no such file or directory"),
        (["x.yaml", "--live", "http://127.0.0.1:8001"], "--live is not in this version yet; run it with --virtual."),
        (["x.yaml", "--live", "http://127.0.0.1:8001", "--virtual"], "--live cannot be combined with --virtual."),
        (["x.yaml", "--out", "x.yaml/y"], "--out x.yaml/y cannot be written: not a directory."),
        (["x.yaml", "--seed", "abc"], "Invalid value for '--seed'"),
    ],
)
def test_what_cannot_be_done_is_told_and_ends_with_2(
    drill: Callable[..., Result], arguments: list[str], told: str
) -> None:
    result = drill(GOOD, "run", *arguments)
    assert result.exit_code == 2
    assert told in result.output


def test_a_trace_that_is_none_ends_with_2(drill: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    result = drill(GOOD.replace("{constant: 20}", "{trace: t.csv}"), "run", "x.yaml")
    assert result.exit_code == 2
    assert "The trace cannot be used:" in result.output
    assert "t.csv:1" in result.output


def test_seed_overrides_and_flag_are_heard(drill: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "over.yaml").write_text("defaults: {retry: {max_attempts: 1}}\n")
    text = GOOD.replace("phase: after, at_least: 0.99", "phase: during, at_most: 0.9").replace("constant", "poisson")
    result = drill(text, "run", "x.yaml", "--seed", "99", "--config", "over.yaml", "--no-protections")
    assert result.exit_code == 0, result.output  # one attempt, and nothing that keeps it from the one that is out
    assert FIGURES.search(result.output)[1] == "99"


def test_out_gets_the_journal_and_the_events(drill: Callable[..., Result], tmp_path: Path) -> None:
    assert drill(GOOD, "run", "x.yaml", "--out", "out").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["events.jsonl", "journal.json"]


def test_a_journal_that_cannot_be_written_is_told_after_what_held(drill: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "out" / "journal.json").mkdir(parents=True)
    result = drill(GOOD, "run", "x.yaml", "--out", "out")
    assert result.exit_code == 2
    assert "1 of 1 held; " in result.output
    assert "--out out cannot be written: is a directory." in result.output
    assert not list((tmp_path / "out").glob(".run-*"))


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(GOOD.replace("duration: 60", "duration: 200000"))
    command = [sys.executable, "-m", "app.cli.main", "drill", "run", "x.yaml", "--out", "out"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)

    def under_way() -> bool:
        return any(path.stat().st_size for path in tmp_path.glob("out/.run-*/events.jsonl"))

    wait_until(under_way, 30, lambda: "no event was written")
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=30)
    assert running.returncode == 130, "1 is what did not hold"
    assert told.decode() == "Broken off.\nNothing was written to out.\n"
    assert not list((tmp_path / "out").iterdir())


def test_list_has_every_scenario_with_its_title(drill: Callable[..., Result]) -> None:
    result = drill(GOOD, "list")
    assert result.exit_code == 0
    names = [line.split()[0] for line in result.output.splitlines()]
    assert names == list(shipped()) == sorted(path.stem for path in (ROOT / "drills").glob("*.yaml"))
    assert all(re.search(r"\S {2,}[A-Z].* ", line) for line in result.output.splitlines())
    assert "cannot be run" not in result.output


def test_progress_is_shown_if_it_is_asked_for(drill: Callable[..., Result]) -> None:
    result = drill(GOOD, "run", "x.yaml", "--progress")
    assert "of 60 virtual s" in result.stderr
    assert "calls/s" in result.stderr
    assert "virtual s took" in result.stdout


def test_a_terminal_gets_colour_and_a_bar(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(GOOD)
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "app.cli.main", "drill", "run", "x.yaml"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "100"}
    done = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    assert done.wait(30) == 0
    assert b"\x1b[32mheld" in shown
    assert b"virtual s" in shown
