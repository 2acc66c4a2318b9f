"""python -m bench.sim: how many calls a second go through a gateway on the virtual clock, on one core, and what takes the time.

The dispatcher, the policies and the settings are those that serve. A call is one request to the gateway, whoever sends it; where
clients try again each try is one.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import click
from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from app.settings import Settings
from app.wiring import build
from bench.machine import machine
from providers.law import Law
from router.sim import run
from router.sim.arrivals import Arrival, poisson
from router.sim.clients import Clients, Population
from router.sim.results import Results
from router.sim.retries import SDK_RETRIES
from router.sim.server import Server
from router.sim.service import Service

SEED = 1
GOAL = 50_000
TARGETS = ("a", "b")
ROOT = Path(__file__).parents[1]
SIMULATOR, GATEWAY = "simulator", "gateway"
# By the folder of what runs; the event loop and its tasks are the simulator's.
PARTS = {"router/sim": SIMULATOR, "router": GATEWAY, "providers": GATEWAY, "app": GATEWAY}


@dataclass(frozen=True, slots=True)
class Workload:
    """``rate`` calls a second, at random, for two targets of this ``service``."""

    title: str
    rate: float
    service: Service
    clients: Clients = field(default_factory=Clients)


WORKLOADS = {
    "plain": Workload("all are served, plain", 1000.0, Service(ttft=Law("constant", 0.05))),
    "streams": Workload(
        "all are served, streams",
        500.0,
        Service(
            ttft=Law("lognormal", 0.2, 0.5), token_interval=Law("constant", 0.02), tokens=Law("uniform", 12.0, 40.0)
        ),
        Clients(stream=True),
    ),
    "outage": Workload(
        "all fail, clients retry",
        500.0,
        Service(error_rate=1.0),
        Clients(count=100, retries=SDK_RETRIES),
    ),
    "overload": Workload("ten times too many", 2000.0, Service(slots=20, queue=0, ttft=Law("constant", 0.2))),
}


class Speed(NamedTuple):
    """``seconds`` of wall time and ``cpu``; ``simulated`` is what passed on the virtual clock."""

    requests: int
    calls: int
    attempts: int
    served: float
    seconds: float
    cpu: float
    simulated: float

    @property
    def calls_per_second(self) -> float:
        return self.calls / self.seconds


def settings() -> Settings:
    """The defaults, and two targets."""
    given: Mapping[str, Any] = {
        "providers": [{"name": name, "kind": "echo"} for name in TARGETS],
        "routes": [{"model": "m", "targets": [{"provider": name} for name in TARGETS]}],
    }
    return Settings.model_validate(given)


def measured(workload: Workload, requests: int) -> Speed:
    """About so many; arrivals are drawn before the watch starts."""

    async def scenario() -> Speed:
        loop = asyncio.get_running_loop()
        gateway = build(
            settings(),
            make=lambda entry: Server(entry.name, workload.service, seed=SEED),
            stopwatch=loop.time,
        )
        results = Results()
        population = Population(workload.clients, [gateway.dispatcher], results, seed=SEED)
        arrivals = [Arrival(at) for at in poisson(workload.rate, requests / workload.rate, Random(SEED))]
        wall, cpu = time.perf_counter(), time.process_time()
        await population.open_loop(arrivals)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        simulated = loop.time()
        await gateway.aclose()
        end = simulated + 1.0
        calls = round(results.insistence(0.0, end) * len(results))
        attempts = round(results.amplification(0.0, end) * len(results))
        return Speed(len(results), calls, attempts, results.goodput(0.0, end), wall, cpu, simulated)

    return run(scenario())


def shares(workload: Workload, requests: int) -> dict[str, float]:
    """How much of the time each of ``PARTS`` takes, by a profile: what is built in counts for whoever calls it."""
    profile = cProfile.Profile()
    profile.runcall(measured, workload, requests)
    seconds: Counter[str] = Counter()
    table: Mapping[tuple[str, int, str], tuple[Any, ...]] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (file, _, _), (_, _, own, _, callers) in table.items():
        if file != "~":
            seconds[part(file)] += own
            continue
        for (calling, _, _), (_, _, spent, _) in callers.items():
            seconds[part(calling)] += spent
    whole = sum(seconds.values())
    return {name: spent / whole for name, spent in seconds.items()}


def part(file: str) -> str:
    inside = file.removeprefix(f"{ROOT}/")
    return next((name for folder, name in PARTS.items() if inside.startswith(f"{folder}/")), SIMULATOR)


def show(console: Console, found: Mapping[str, tuple[Speed, Mapping[str, float]]]) -> None:
    table = Table(title="on the virtual clock", box=HORIZONTALS, padding=(0, 1, 0, 0))
    table.add_column("")
    for header in ("calls/s", "attempts/s", "µs CPU/call", "of it gateway", "times real time", "served"):
        table.add_column(header, justify="right")
    for name, (speed, split) in found.items():
        table.add_row(
            WORKLOADS[name].title,
            f"{speed.calls_per_second:,.0f}",
            f"{speed.attempts / speed.seconds:,.0f}",
            f"{speed.cpu / speed.calls * 1e6:.0f}",
            f"{split.get(GATEWAY, 0.0):.0%}",
            f"{speed.simulated / speed.seconds:,.1f}",
            f"{speed.served:.0%}",
        )
    console.print(table)
    slowest = min(speed.calls_per_second for speed, _ in found.values())
    verdict = "[green]met[/]" if slowest >= GOAL else "[red]missed[/]"
    console.print(f"goal: {GOAL:,} calls/s in each, {verdict}")


@click.command()
@click.option("--only", type=click.Choice(list(WORKLOADS)), multiple=True, help="Default: each, one after the other.")
@click.option("--requests", type=click.IntRange(1000), default=20_000, show_default=True, help="Of each workload.")
def main(only: tuple[str, ...], requests: int) -> None:
    """Calls a second through a whole gateway on the virtual clock."""
    console = Console()
    about = machine()
    console.print(f"{about['processor']}, busy before: {about['busy_before']:.0%}")
    found = {}
    for name in only or WORKLOADS:
        measured(WORKLOADS[name], requests // 10)  # warms up
        found[name] = measured(WORKLOADS[name], requests), shares(WORKLOADS[name], requests // 10)
    show(console, found)


if __name__ == "__main__":
    main()
