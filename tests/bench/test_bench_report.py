from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench import report
from bench.figures import FIGURES, GOALS, Goal, Samples
from bench.servers import DIRECT, ENVOY, FLOOR, GATEWAY

EVERYTHING: Samples = {
    figure.key: {name: [value * figure.per for value in (9.5, 9.25, 9.875)] for name in (DIRECT, FLOOR, ENVOY, GATEWAY)}
    for part in FIGURES.values()
    for figure in part
}


def shown(samples: Samples) -> str:
    sink = io.StringIO()
    report.show(Console(file=sink, width=80), samples, rounds=3)
    return sink.getvalue()


def test_everything_fits_in_eighty_columns() -> None:
    text = shown(EVERYTHING)
    assert "…" not in text
    for part in FIGURES.values():
        for figure in part:
            assert figure.title in text
    assert text.count("missed") == sum(not goal.at_least and goal.limit < 9.5 for goal in GOALS if not goal.of_envoy)


def test_medians_stand_above_their_spread_and_ratios_beside() -> None:
    text = shown({"requests_per_second_c64": {ENVOY: [20_000, 30_000, 25_000], GATEWAY: [5_000, 9_000, 5_000]}})
    median, low_high = (line.split() for line in text.splitlines() if "25.00" in line or "20.00–30.00" in line)
    assert median == ["thousands/s", "–", "–", "25.00", "5.00", "0.25"]
    assert low_high == ["c=64", "20.00–30.00", "5.00–9.00"]
    assert "met" in text


def test_merged_chunks_are_warned_of() -> None:
    assert "merged" not in shown({"chunks_per_read_1000": {ENVOY: [1.0]}})
    assert "At 1,000 streams chunks were merged" in shown({"chunks_per_read_1000": {ENVOY: [1.5]}})


def test_a_goal_without_envoy_says_so_and_a_part_not_measured_is_not_shown() -> None:
    text = shown({"cpu_us_per_chunk_256": {GATEWAY: [30.0]}})
    assert f"no {ENVOY}" in text
    assert report.TITLES["plain"] not in text
    assert "idle" not in text


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (Goal("requests_per_second_c64", 0.25, at_least=True, of_envoy=True), "≥ 0.25 × Envoy"),
        (Goal("cpu_us_per_chunk_256", 1.4, of_envoy=True), "≤ 1.4 × Envoy"),
        (Goal("added_p50_ms_c1", 0.3), "≤ 0.300"),
        (Goal("idle_mb", 75), "≤ 75.0"),
    ],
)
def test_limits_in_words(goal: Goal, words: str) -> None:
    assert report.limit(goal) == words


def test_the_file_holds_every_sample_and_every_verdict(tmp_path: Path) -> None:
    path = tmp_path / "latest.json"
    report.write(EVERYTHING, {"rounds": 3, "versions": {"envoy": "1.40.0"}}, path)
    written = json.loads(path.read_text())
    assert written["samples"] == EVERYTHING
    assert written["versions"] == {"envoy": "1.40.0"}
    assert {goal["figure"]: goal["met"] for goal in written["goals"]} == {
        "requests_per_second_c64": True,
        "requests_per_second_c1": True,
        "added_p50_ms_c1": False,
        "cpu_us_per_chunk_256": True,
        "cpu_us_per_chunk_1000": True,
        "idle_mb": True,
        "peak_mb_1000": True,
        "ready_seconds": False,
    }
