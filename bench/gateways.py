"""python -m bench.gateways: a thousand gateways, ten providers, and one of these goes down. On the virtual clock.

Each gateway knows only what it has seen itself. So the question is what their own budgets and breakers make of it together,
and what it would add if they told each other when a breaker opens. Nothing is imitated but the providers and the clients:
every gateway is a whole one, with a state of its own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import click
from matplotlib.figure import Figure
from rich.box import HORIZONTALS
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.settings import Settings
from app.settings.faults import asked_of, rule_of
from app.wiring import Gateway, build
from bench.published.drawing import BLUE, GREEN, PURPLE, VERMILION, panels, plain_numbers, save
from providers.law import Law
from router.events import BreakerMoved, FaultInjected
from router.policies.breaker import HALF_OPEN, OPEN, Breaker
from router.select.chance import unit
from router.sim import run as on_virtual_clock
from router.sim.arrivals import Arrival, poisson
from router.sim.clients import Clients, Population
from router.sim.results import Results
from router.sim.server import Server
from router.sim.service import Service

BEFORE, AFTER = 3.0, 9.0
CAPACITY = 10_000.0  # requests a second, of each provider
GOSSIP_SECONDS = 0.05
FIRST_TOKEN_SECONDS = 1.0
GOODPUT = 0.999
COLOURS = (VERMILION, BLUE, GREEN, PURPLE)
OFF = {"enabled": False}
TRIGGERS: dict[str, dict[str, Any]] = {
    "errors": {"kind": "http_5xx", "statuses": [500]},
    "silence": {"kind": "stall", "after": 0, "hold": 60, "pings": False},
}
UNPROTECTED: dict[str, Any] = {
    "breaker": OFF,
    "concurrency": OFF,
    "throttle": OFF,
    "probing": OFF,
    "retry": {"max_attempts": 3, "budget": OFF, "concurrency": OFF, "throttle": OFF, "dont_retry": OFF},
}


@dataclass(frozen=True, slots=True)
class Variant:
    """``shared``: who opens a breaker tells all others, ``GOSSIP_SECONDS`` later; ``apart``: each adds up to as long again, by
    chance, before it asks.
    """

    name: str
    protected: bool = True
    shared: bool = False
    apart: bool = False


VARIANTS = (
    Variant("three attempts, no protection", protected=False),
    Variant("each gateway for itself (the defaults)"),
    Variant("opens are shared, with their ends", shared=True),
    Variant("opens are shared, each ends its own", shared=True, apart=True),
)


@dataclass(slots=True)
class Fleet:
    """``wasted``: attempts at the provider that is down, by second from the start of that."""

    variant: str
    trigger: str
    gateways: int
    requests: int = 0
    failed: int = 0
    wasted: dict[int, int] = field(default_factory=dict)
    opened: list[float] = field(default_factory=list)
    half_open_at: list[float] = field(default_factory=list)
    amplification: float = 0.0
    p99_before: float = 0.0
    p99_during: float = 0.0
    back: float | None = None
    series: list[tuple[float, float]] = field(default_factory=list)
    wall: float = 0.0

    @property
    def half_opened_breakers(self) -> float:
        """Seconds until half of the gateways had opened their breaker; infinite if they never do."""
        return sorted(self.opened)[self.gateways // 2] if len(self.opened) > self.gateways // 2 else float("inf")


def settings(providers: int, *, protected: bool, seed: int) -> Settings:
    defaults: dict[str, Any] = {} if protected else dict(UNPROTECTED)
    defaults["timeouts"] = {"first_token": FIRST_TOKEN_SECONDS, "attempt": FIRST_TOKEN_SECONDS, "total": 10}
    names = [f"p{number}" for number in range(providers)]
    return Settings.model_validate(
        {
            "providers": [{"name": name, "kind": "mock"} for name in names],
            "routes": [{"model": "m", "targets": [{"provider": name} for name in names]}],
            "defaults": defaults,
            "shedding": {} if protected else OFF,
            "chaos": {"max_active": 1_000_000},
            "seed": seed,
        }
    )


async def run(
    variant: Variant,
    trigger: str,
    gateways: int,
    rate: float,
    failing: float,
    seed: int,
    progress: Progress,
    ready: Callable[[], None] = lambda: None,
) -> Fleet:
    """``rate`` of each gateway, in requests a second. ``ready`` is called when all gateways are made."""
    loop = asyncio.get_running_loop()
    fleet = Fleet(variant.name, trigger, gateways)
    servers: dict[str, Server] = {}
    laws = Service(rate=CAPACITY, ttft=Law("lognormal", 0.2, 0.5))

    def make(entry: Any) -> Server:
        return servers.setdefault(entry.name, Server(entry.name, laws, seed=seed))

    made = [
        build(settings(10, protected=variant.protected, seed=seed), make=make, stopwatch=loop.time, instance=number)
        for number in range(gateways)
    ]
    for gateway in made:
        gateway.events.listen(partial(_wasted, fleet), FaultInjected)
        gateway.events.listen(partial(_moved, fleet, made, gateway, variant), BreakerMoved)
        loop.call_at(BEFORE, partial(_break, gateway, trigger, failing))
    ready()
    results = Results()
    whole = BEFORE + failing + AFTER
    task = progress.add_task(f"{trigger}, {variant.name}", total=whole)
    ticking = loop.create_task(_tick(progress, task, whole))
    population = Population(Clients(), [gateway.dispatcher for gateway in made], results, seed=seed)
    await population.open_loop(map(Arrival, poisson(rate * gateways, whole, Random(seed))))
    await ticking
    for gateway in made:
        await gateway.aclose()
    _sum_up(fleet, results, failing)
    return fleet


async def _tick(progress: Progress, task: Any, whole: float) -> None:
    for second in range(int(whole)):
        await asyncio.sleep(1.0)
        progress.update(task, completed=second + 1)


def _break(gateway: Gateway, trigger: str, failing: float) -> None:
    asked = asked_of({**TRIGGERS[trigger], "target": "p0", "ttl": failing})
    gateway.chaos.add(rule_of(asked, "down", gateway.lives, gateway.routes.named))


def _wasted(fleet: Fleet, event: FaultInjected) -> None:
    second = int(event.at - BEFORE)
    fleet.wasted[second] = fleet.wasted.get(second, 0) + 1


def _moved(fleet: Fleet, made: Sequence[Gateway], gateway: Gateway, variant: Variant, event: BreakerMoved) -> None:
    if event.after == HALF_OPEN:
        fleet.half_open_at.append(event.at - BEFORE)
    if event.before != "closed" or event.after not in (OPEN, "forced_open"):
        return
    fleet.opened.append(event.at - BEFORE)
    if variant.shared and event.after == OPEN:
        loop = asyncio.get_running_loop()
        loop.call_later(GOSSIP_SECONDS, _spread, made, gateway, variant, event.target, event.open_until)


def _spread(made: Sequence[Gateway], teller: Gateway, variant: Variant, target: str, until: float) -> None:
    now = asyncio.get_running_loop().time()
    for number, gateway in enumerate(made):
        breaker = gateway.lives[target].guard(Breaker)
        if gateway is not teller and breaker is not None and breaker.state_at(now) == "closed" and until > now:
            more = (until - now) * unit(number, target, f"open until {until}") if variant.apart else 0.0
            breaker.force_open(now, "another gateway's has opened", until + more)


def _sum_up(fleet: Fleet, results: Results, failing: float) -> None:
    ends = BEFORE + failing
    fleet.requests = len(results)
    fleet.failed = sum(second.arrived - second.ok for second in results.series())
    fleet.series = [(second.at - BEFORE, second.ok / second.arrived) for second in results.series() if second.arrived]
    fleet.amplification = results.amplification(BEFORE, ends)
    fleet.p99_before = results.quantile(0.99, 0.0, BEFORE, of="whole")
    fleet.p99_during = results.quantile(0.99, BEFORE, ends, of="whole")
    back = results.recovered(ends, GOODPUT)
    fleet.back = None if back is None else max(0.0, back - ends)


def told(fleets: Sequence[Fleet]) -> Table:
    table = Table(box=HORIZONTALS, header_style="bold")
    for heading in (
        "trigger",
        "gateways",
        "requests",
        "failed",
        "attempts at the dead one",
        "in its 1st s",
        "half have opened",
        "attempts a request",
        "p99",
        "p99 meanwhile",
    ):
        table.add_column(heading, justify="left" if heading in ("trigger", "gateways") else "right")
    for fleet in fleets:
        half = fleet.half_opened_breakers
        table.add_row(
            fleet.trigger,
            fleet.variant,
            f"{fleet.requests:,}",
            f"{fleet.failed:,}",
            f"{sum(fleet.wasted.values()):,}",
            f"{fleet.wasted.get(0, 0):,}",
            "never" if half == float("inf") else f"{half:.1f} s",
            f"{fleet.amplification:.3f}",
            f"{fleet.p99_before:.2f} s",
            f"{fleet.p99_during:.2f} s",
        )
    return table


def draw(fleets: Sequence[Fleet]) -> Figure:
    """Attempts at the provider that is down, second by second."""
    triggers = list(dict.fromkeys(fleet.trigger for fleet in fleets))
    figure, axes_of = panels(1, len(triggers), 2.8, sharey=True)
    for axes, trigger in zip(axes_of, triggers, strict=True):
        for fleet, colour in zip((each for each in fleets if each.trigger == trigger), COLOURS, strict=True):
            seconds = range(max(fleet.wasted) + 1)
            axes.step(
                seconds, [fleet.wasted.get(n, 0) for n in seconds], where="mid", color=colour, label=fleet.variant
            )
        axes.set(title=f"{trigger}: attempts a second at the provider that is down", yscale="symlog", xlabel="seconds")
        plain_numbers(axes.yaxis)
    figure.legend(*axes_of[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


@click.command()
@click.option("--gateways", default=1000, show_default=True)
@click.option("--rate", default=20.0, show_default=True, help="Requests a second of each gateway.")
@click.option("--failing", default=8.0, show_default=True, help="Seconds for which one provider is down.")
@click.option("--trigger", "triggers", multiple=True, type=click.Choice(list(TRIGGERS)), help="Default: both.")
@click.option("--seed", default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the figures there, as JSON.")
@click.option("--picture", type=click.Path(path_type=Path), help="And a picture there, as SVG.")
def main(
    gateways: int,
    rate: float,
    failing: float,
    triggers: tuple[str, ...],
    seed: int,
    out: Path | None,
    picture: Path | None,
) -> None:
    """What one dead provider does to many gateways, by what they do about it."""
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f} s"), TimeElapsedColumn())
    fleets = []
    with Progress(*columns, console=console) as progress:
        for trigger in triggers or tuple(TRIGGERS):
            for variant in VARIANTS:
                began = time.perf_counter()
                # A thousand gateways are a million objects, and each full collection would walk them.
                fleet = on_virtual_clock(run(variant, trigger, gateways, rate, failing, seed, progress, gc.freeze))
                gc.unfreeze()
                fleet.wall = time.perf_counter() - began
                fleets.append(fleet)
    console.print(told(fleets))
    calls, wall = sum(fleet.requests for fleet in fleets), sum(fleet.wall for fleet in fleets)
    console.print(
        f"{calls:,} requests in {wall:.0f} s of wall time: {calls / wall:,.0f} a second, one core, seed {seed}"
    )
    if out is not None:
        out.write_text(json.dumps([asdict(fleet) for fleet in fleets], indent=1), encoding="utf-8")
    if picture is not None:
        save(partial(draw, fleets), picture)


if __name__ == "__main__":
    main()
