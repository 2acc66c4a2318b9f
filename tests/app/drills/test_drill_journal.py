"""The journal has the form of the Chaos Toolkit's, in times of the virtual clock; the events are all there, in order."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from app.drills.journal import Record, journal
from app.drills.load import planned
from app.drills.run import run
from app.drills.verdict import states, verdicts
from app.settings.document import read

TEXT = """\
title: t
description: d
seed: 3
duration: 30
traffic:
  - arrivals: {constant: 20}
fleet:
  - {name: a, ttft: 0.1}
  - {name: b, ttft: 0.1}
faults:
  - {at: 10, for: 10.5, target: a, kind: http_5xx, share: 0.5}
expect:
  - goodput: {phase: before, at_least: 0.99}
  - ttft: {phase: during, at_most: 0.0001}
  - share: {phase: after, target: a, at_least: 0.3}
"""


def written(text: str = TEXT) -> dict[str, Any]:
    made = planned(text, "x.yaml", Path())
    seen = run(made)
    told: dict[str, Any] = json.loads(json.dumps(journal(made, verdicts(made, seen), states(made, seen))))
    return told


def test_it_has_every_key_that_must_be_there() -> None:
    told = written()
    assert {
        "experiment",
        "status",
        "start",
        "end",
        "duration",
        "deviated",
        "steady_states",
        "run",
        "rollbacks",
    } <= told.keys()
    experiment = told["experiment"]
    assert {"title", "description", "method", "steady-state-hypothesis"} <= experiment.keys()
    assert (experiment["title"], experiment["description"]) == ("t", "d")
    assert experiment["extensions"][0]["scenario"]["faults"][0]["for"] == pytest.approx(10.5)  # as written
    for activity in told["run"]:
        assert {"activity", "status", "start", "end", "duration", "output"} <= activity.keys()
        assert datetime.fromisoformat(activity["start"]).utcoffset() is not None


def test_times_are_those_of_the_virtual_clock() -> None:
    told = written()
    assert (told["start"], told["end"]) == ("2000-01-01T00:00:00.000000+00:00", "2000-01-01T00:00:30.000000+00:00")
    action = told["run"][0]
    assert action["activity"]["type"] == "action"
    assert (action["start"][17:23], action["end"][17:23], action["duration"]) == ("10.000", "20.500", 10.5)


def test_what_held_before_during_and_after() -> None:
    told = written()
    assert (told["status"], told["deviated"]) == ("completed", True)
    steady = told["steady_states"]
    (during,) = steady["during"]
    assert [steady["before"]["steady_state_met"], during["steady_state_met"], steady["after"]["steady_state_met"]] == [
        True,
        False,
        True,
    ]
    assert during["probes"][0]["tolerance_met"] is False
    assert during["probes"][0]["output"] == pytest.approx(0.1, abs=0.01)
    assert steady["before"]["figures"]["goodput"] == pytest.approx(1)


def test_a_run_that_was_not_steady_before_has_failed() -> None:
    told = written(
        TEXT.replace("{phase: before, at_least: 0.99}", "{phase: before, at_most: 0.5}").replace("0.0001", "9")
    )
    assert (told["status"], told["deviated"]) == ("failed", False)


def test_the_events_are_there_in_order(tmp_path: Path) -> None:
    made = planned(TEXT, "x.yaml", Path())
    record = Record(tmp_path / "new" / "folder")
    seen = run(made, listen=record.listen)
    record.keep(made, verdicts(made, seen), states(made, seen))
    record.close()
    lines = [json.loads(line) for line in (tmp_path / "new" / "folder" / "events.jsonl").read_text().splitlines()]
    times = [line["at"] for line in lines]
    assert times == sorted(times)
    kinds = {line["event"] for line in lines}
    assert {"Admitted", "AttemptStarted", "AttemptEnded", "FaultStarted", "FaultInjected", "FaultStopped"} <= kinds
    assert {line["gateway"] for line in lines} == {0}
    assert (tmp_path / "new" / "folder" / "journal.json").read_bytes().endswith(b"}\n")


def test_what_is_broken_off_leaves_what_was_there(tmp_path: Path) -> None:
    for name in ("events.jsonl", "journal.json"):
        (tmp_path / name).write_text("before")
    record = Record(tmp_path)
    run(planned(TEXT, "x.yaml", Path()), listen=record.listen)
    record.close()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "events.jsonl": "before",
        "journal.json": "before",
    }


def test_of_two_runs_at_once_one_is_left_whole(tmp_path: Path) -> None:
    made = [planned(TEXT, "x.yaml", Path(), seed=seed) for seed in (1, 2)]
    records = [Record(tmp_path) for _ in made]
    for plan, record in zip(made, records, strict=True):
        seen = run(plan, listen=record.listen)
        record.keep(plan, verdicts(plan, seen), states(plan, seen))
    for record in records:
        record.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.jsonl", "journal.json"]
    assert json.loads((tmp_path / "journal.json").read_text())["experiment"]["configuration"]["seed"] == 2
    alone = Record(tmp_path / "alone")
    run(made[1], listen=alone.listen)
    alone.keep(made[1], [], [])
    assert (tmp_path / "events.jsonl").read_bytes() == (tmp_path / "alone" / "events.jsonl").read_bytes()
    alone.close()


def test_it_tells_what_was_laid_over_the_file() -> None:
    overrides = read("{defaults: {breaker: {enabled: true}}, admin: {token: a-secret-token}}", "over.yaml", {})
    made = planned(TEXT, "x.yaml", Path(), overrides, protected=False)
    assert journal(made, [], [])["experiment"]["configuration"] == {
        "seed": 3,
        "protections": False,
        "overrides": {"defaults": {"breaker": {"enabled": True}}},
    }
    assert written()["experiment"]["configuration"] == {"seed": 3, "protections": True}


def test_a_seed_of_any_size_can_be_written(tmp_path: Path) -> None:
    made = planned(TEXT.replace("seed: 3", f"seed: {10**40}"), "x.yaml", Path())
    record = Record(tmp_path)
    seen = run(made, listen=record.listen)
    record.keep(made, verdicts(made, seen), states(made, seen))
    record.close()
    assert json.loads((tmp_path / "journal.json").read_text())["experiment"]["configuration"]["seed"] == 10**40
