from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench import sim


@pytest.mark.parametrize(
    ("name", "served", "calls"),
    [("plain", 1.0, 1.0), ("streams", 1.0, 1.0), ("outage", 0.0, 3.0), ("overload", 0.2, 1.0)],
)
def test_each_workload_is_what_its_title_says(name: str, served: float, calls: float) -> None:
    speed = sim.measured(sim.WORKLOADS[name], 2000)
    assert speed.requests == pytest.approx(2000, abs=200)
    assert speed.served == pytest.approx(served, abs=0.1)
    assert speed.calls / speed.requests == pytest.approx(calls)
    assert speed.simulated >= speed.requests / sim.WORKLOADS[name].rate * 0.9


def test_the_gateway_s_share_and_the_simulator_s_are_all() -> None:
    split = sim.shares(sim.WORKLOADS["plain"], 1000)
    assert sum(split.values()) == pytest.approx(1.0)
    assert 0.2 < split[sim.GATEWAY] < 0.9


@pytest.mark.parametrize(
    ("file", "part"),
    [
        (f"{sim.ROOT}/router/sim/loop.py", sim.SIMULATOR),
        (f"{sim.ROOT}/router/dispatch.py", sim.GATEWAY),
        (f"{sim.ROOT}/providers/prompt.py", sim.GATEWAY),
        ("/usr/lib/python3.11/asyncio/events.py", sim.SIMULATOR),
    ],
)
def test_the_event_loop_is_the_simulator_s(file: str, part: str) -> None:
    assert sim.part(file) == part


@pytest.mark.parametrize(("seconds", "verdict"), [(1.0, "met"), (1.001, "missed")])
def test_the_table_and_the_verdict(seconds: float, verdict: str) -> None:
    speed = sim.Speed(50_000, 50_000, 60_000, 0.5, seconds, seconds / 2, 100.0)
    said = io.StringIO()
    sim.show(Console(file=said, width=120), {"plain": (speed, {sim.GATEWAY: 0.625})})
    assert "all are served, plain" in said.getvalue()
    assert "62%" in said.getvalue()
    assert f"goal: 50,000 calls/s in each, {verdict}" in said.getvalue()
