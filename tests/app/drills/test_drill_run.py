"""A run: what traffic, fleet and faults of a scenario do, through the unchanged gateway, and the same each time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.drills.load import Plan, planned
from app.drills.run import run
from app.drills.seen import Seen, Span
from router.sim.trace import TraceError

ROOT = Path(__file__).parents[3]
TWO = """\
title: t
seed: 5
duration: 40
traffic:
  - arrivals: {poisson: 30}
fleet:
  - {name: a, ttft: {lognormal: [0.1, 0.5]}}
  - {name: b, ttft: {lognormal: [0.1, 0.5]}}
faults:
  - {at: 10, for: 10, target: a, kind: http_5xx, share: 0.5}
expect:
  - goodput: {at_least: 0}
"""
WHOLE = Span(0.0, 40.0)


def plan(text: str, folder: Path = Path(), **how: object) -> Plan:
    return planned(text, "x.yaml", folder, **how)


def ran(text: str, folder: Path = Path()) -> Seen:
    return run(plan(text, folder))


@pytest.mark.parametrize(
    ("arrivals", "came"),
    [
        ("{constant: 10}", 400),
        ("{ramp: [0, 20], regular: true}", 400),
        ("{steps: [[0, 5], [20, 15]], regular: true}", 400),
        ("{linear: [[0, 0], [20, 20], [39, 0]], regular: true}", 390),
        ("{closed: {clients: 10, think: 0.9}}", 400),
    ],
)
def test_as_many_come_as_the_law_says(arrivals: str, came: int) -> None:
    text = TWO.replace("{poisson: 30}", arrivals).replace("{lognormal: [0.1, 0.5]}", "0.1")
    assert ran(text.replace("share: 0.5", "share: 0.0001")).came(WHOLE) == pytest.approx(came, abs=10)


def test_a_fault_may_begin_as_another_ends_whatever_their_sum_is_to_the_last_bit() -> None:
    both = "{at: 0.1, for: 0.2, target: a, kind: http_5xx}\n  - {at: 0.3, for: 5, target: a, kind: connect_refused}"
    seen = ran(TWO.replace("{at: 10, for: 10, target: a, kind: http_5xx, share: 0.5}", both))
    assert seen.injected(WHOLE, "connect_refused") > 0


def test_poisson_arrivals_come_at_their_rate() -> None:
    assert ran(TWO).came(WHOLE) == pytest.approx(1200, abs=150)


def test_a_trace_beside_the_scenario_is_played(tmp_path: Path) -> None:
    lines = "".join(f"2023-11-16 18:00:{second:02}.0000000,100,10\n" for second in range(0, 60, 2))
    (tmp_path / "t.csv").write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{lines}")
    text = TWO.replace("{poisson: 30}", "{trace: t.csv, speed: 2, limit: 25}")
    seen = ran(text, tmp_path)
    assert seen.came(WHOLE) == 25
    assert seen.came(Span(0.0, 10.0)) == 10


def test_a_trace_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("what,is,this\n1,2,3\n")
    with pytest.raises(TraceError, match=r"t\.csv"):
        ran(TWO.replace("{poisson: 30}", "{trace: t.csv}"), tmp_path)


def test_a_fault_acts_in_its_time_and_nowhere_else() -> None:
    seen = ran(TWO)
    assert seen.injected(Span(10.0, 20.0), "http_5xx") == seen.injected(WHOLE, None) > 15
    assert seen.goodput(WHOLE) == pytest.approx(1)  # the other one answers


def test_capacity_that_falls_is_a_trigger_and_is_felt() -> None:
    text = TWO.replace("name: a,", "name: a, rate: 100, capacity: {steps: [[0, 1], [10, 0], [15, 1]]},")
    made = plan(text.replace("faults:\n  - {at: 10, for: 10, target: a, kind: http_5xx, share: 0.5}\n", ""))
    assert made.trigger == (10.0, 15.0)
    seen = run(made)
    assert seen.quantile(0.95, Span(10.0, 15.0), "whole") > 2 > seen.quantile(0.95, Span(0.0, 9.0), "whole")


def test_each_gateway_has_its_own_state_and_all_have_the_same_servers() -> None:
    numbers: list[int] = []
    text = TWO.replace("fleet:", "gateways: 3\nfleet:").replace("share: 0.5", "share: 1")
    made = plan(text)
    seen = run(made, listen=lambda number, _: numbers.append(number))
    assert numbers == [0, 1, 2]
    assert seen.opened(WHOLE, "a") >= 3  # each had to find out by itself
    assert seen.goodput(WHOLE) == pytest.approx(1)


def test_clients_that_try_again_make_more_requests_and_priorities_are_theirs() -> None:
    text = TWO.replace("share: 0.5", "share: 1").replace("target: a", "target: [a, b]")
    retrying = (
        "{poisson: 30}\n    clients: {retries: 2, backoff: {base: 0.1, jitter: none}, honours: false, priority: batch}"
    )
    seen = ran(text.replace("{poisson: 30}", retrying))
    down = Span(10.0, 20.0)
    assert seen.requests(down) > 2 * seen.came(down)


def test_expectations_may_be_of_one_traffic_alone() -> None:
    text = TWO.replace(
        "  - arrivals: {poisson: 30}\n", "  - {name: x, arrivals: {constant: 5}}\n  - arrivals: {constant: 7}\n"
    )
    seen = ran(text)
    assert (seen.came(WHOLE, "x"), seen.came(WHOLE)) == (200, 480)


def test_one_plan_run_twice_is_one_run() -> None:
    """Faults that remember, such as a limit, begin anew."""
    fault = "{at: 10, for: 10, target: a, kind: limit_ramp, start: 6000, end: 600, over: 5}"
    made = plan(TWO.replace("{at: 10, for: 10, target: a, kind: http_5xx, share: 0.5}", fault))
    first, second = run(made), run(made)
    assert list(first.results) == list(second.results)
    assert first.injected(WHOLE, "limit_ramp") == second.injected(WHOLE, "limit_ramp") > 0


def test_another_seed_is_another_run() -> None:
    assert list(run(plan(TWO)).results) != list(run(plan(TWO, seed=6)).results)


def test_progress_is_told_in_virtual_time() -> None:
    told: list[tuple[float, int]] = []
    run(plan(TWO), progress=lambda now, calls: told.append((now, calls)))
    times, calls = [now for now, _ in told], [count for _, count in told]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(40.0, abs=0.5)
    assert calls == sorted(calls)
    assert calls[-1] > 1000


# Two gateways, hedges, and faults of both sorts: one that takes the server's place, one that cuts what crosses a real socket.
MANY_PARTS = (
    TWO.replace("seed: 5", "seed: 5\ngateways: 2")
    .replace("{poisson: 30}", "{poisson: 30}\n    stream: true")
    .replace(
        "expect:", "  - {at: 25, for: 5, target: b, kind: truncate, share: 0.3}\nconfig: {routes: [ROUTE]}\nexpect:"
    )
    .replace("ROUTE", "{model: m, hedge: {after: p95}, strategy: least_busy, targets: [{provider: a}, {provider: b}]}")
)


def test_one_seed_leaves_the_same_files_whatever_the_order_of_hashes(tmp_path: Path) -> None:
    """M18: byte for byte, in processes whose sets and dictionaries are hashed otherwise."""
    (tmp_path / "x.yaml").write_text(MANY_PARTS)
    left = []
    for number, hashes in enumerate(("0", "1", "4242", "0")):
        out = tmp_path / f"out-{number}"
        command = [sys.executable, "-m", "app.cli.main", "drill", "run", "x.yaml", "--out", str(out)]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hashes}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        left.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert left[0].keys() == {"journal.json", "events.jsonl"}
    assert all(files == left[0] for files in left)
    for content in left[0].values():
        assert str(tmp_path).encode() not in content
