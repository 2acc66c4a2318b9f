"""python -m bench.overload: three times what an upstream can do is asked of it, by the clock, and not all of it matters alike.

One in ten calls is critical, four are sheddable, the others are neither. Those that are served should fill the upstream
(``GOODPUT``), all that is critical should be among them, none should wait beyond its SLO, and the others should hear of it
at once. What is too much for the upstream ``queues`` there, without end, or is refused with ``503`` or ``429``.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from bench import stage
from bench.offered import Called, Clients, Try
from router.errors import Shed

MIX = {"critical": 0.1, "default": 0.5, "sheddable": 0.4}
FACTOR = 3.0
SLOTS, SERVICE, FIRST = 20, 0.2, 0.05
LIMITS = {"queues": (), "503": ("--queue", "0", "--full", "503"), "429": ("--queue", "0", "--full", "429")}
AT_THE_DOOR = ("progressive", "expected_wait", "queue_full")
PATIENCE_SECONDS = 30.0
GOODPUT, CRITICAL, SLO_SECONDS, SHED_SECONDS = 0.9, 0.99, 2.0, 0.005


def quantile(values: Sequence[float], q: float) -> float:
    """Nearest rank; not a number if there are none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(q * len(ranked)))] if ranked else float("nan")


def cause(tried: Try) -> str | None:
    """By which rule the gate turned it away; None if it did not."""
    return next((name for name, words in Shed.CAUSES.items() if words in tried.why), None)


@dataclass(frozen=True, slots=True)
class Part:
    """The calls of one kind, or all. Only the first request of each counts: these clients do not try again."""

    tries: Sequence[Try]

    @property
    def served(self) -> list[Try]:
        return [one for one in self.tries if one.ok]

    @property
    def first_tokens(self) -> list[float]:
        return [one.first - one.sent for one in self.served if one.first is not None]

    @property
    def shed(self) -> list[Try]:
        return [one for one in self.tries if cause(one) is not None]

    @property
    def at_the_door(self) -> list[Try]:
        return [one for one in self.tries if cause(one) in AT_THE_DOOR]

    @property
    def failed(self) -> Counter[str]:
        """Neither served nor shed, by status."""
        return Counter(str(one.status or "unanswered") for one in self.tries if not one.ok and cause(one) is None)


def parts(called: Sequence[Called], begins: float, ends: float) -> dict[str, Part]:
    """By kind, and ``all``: of those that arrived between the two."""
    within = [call for call in called if begins <= call.arrived < ends]
    by_kind = {kind: Part([call.tries[0] for call in within if call.kind == kind]) for kind in MIX}
    return by_kind | {"all": Part([call.tries[0] for call in within])}


def config(
    upstream: stage.Limited, law: str, defaults: Mapping[str, Any], shedding: Mapping[str, Any]
) -> dict[str, Any]:
    """What queues is a server of one's own, as vLLM is."""
    kind = "vllm" if law == "queues" else "openai-compatible"
    return {
        "providers": [{"name": "up", "kind": kind, "base_url": f"http://127.0.0.1:{upstream.port}/v1"}],
        "routes": [{"model": "m", "targets": [{"provider": "up", "model": "x"}]}],
        "defaults": dict(defaults),
        "shedding": dict(shedding),
    }


@dataclass(frozen=True, slots=True)
class Run:
    """``log``: how long each request took in the gateway, in seconds, by its id. ``capacity`` a second."""

    called: Sequence[Called]
    began: float
    seconds: float
    capacity: float
    log: Mapping[str, float]
    latest: float

    def goodput(self, skipped: float) -> float:
        """Answers that ended after ``skipped`` seconds, of all that could have."""
        begins, ends = self.began + skipped, self.began + self.seconds
        served = sum(call.ok and begins <= call.tries[-1].ended < ends for call in self.called)
        return served / (self.seconds - skipped) / self.capacity


async def run(
    law: str,
    seconds: float,
    folder: Path,
    *,
    defaults: Mapping[str, Any] | None = None,
    shedding: Mapping[str, Any] | None = None,
    slots: int = SLOTS,
    factor: float = FACTOR,
    seed: int = 0,
) -> Run:
    """``defaults`` and ``shedding`` are settings."""
    capacity = slots / SERVICE
    slot = ("--slots", str(slots), "--service", str(SERVICE), "--first", str(FIRST))
    with (
        stage.limited(["up"], folder, *slot, *LIMITS[law]) as (upstream,),
        stage.gateway(config(upstream, law, defaults or {}, shedding or {}), folder) as edge,
    ):
        clients = Clients(edge.port, PATIENCE_SECONDS, seed, retries=False)
        await clients.come(factor * capacity, seconds, MIX)
        clients.hang_up()
        lines = await asyncio.to_thread(edge.lines)
    began = min(call.arrived for call in clients.called)
    log = {line["request_id"]: line["duration_ms"] / 1000 for line in lines}
    return Run(clients.called, began, seconds, capacity, log, clients.latest)


def show(console: Console, told: Run, skipped: float) -> None:
    by_kind = parts(told.called, told.began + skipped, told.began + told.seconds)
    table = Table("", "calls", "served", "TTFT p50", "p95", "max ms", "shed", "at the door", box=HORIZONTALS)
    for kind, part in by_kind.items():
        calls, ttfts = max(1, len(part.tries)), part.first_tokens
        table.add_row(
            kind,
            str(len(part.tries)),
            f"{len(part.served) / calls:.1%}",
            *(f"{quantile(ttfts, q) * 1000:.0f}" for q in (0.5, 0.95, 1.0)),
            f"{len(part.shed) / calls:.1%}",
            f"{len(part.at_the_door) / max(1, len(part.shed)):.1%}",
        )
    console.print(table)
    shed = by_kind["all"].shed
    for kind in MIX:
        part = by_kind[kind]
        causes = Counter(str(cause(one)) for one in part.shed)
        causes.update({f"failed ({name})": count for name, count in part.failed.items()})
        if causes:
            named = ", ".join(f"{name} {count}" for name, count in sorted(causes.items()))
            console.print(f"{kind}: {named}", highlight=False)
    table = Table("ms to be turned away", "calls", "p50", "p95", "p99", "max", "under 5 ms", box=HORIZONTALS)
    for where, ones in (("at the door", by_kind["all"].at_the_door), ("all", shed)):
        seen = [one.ended - one.sent for one in ones]
        inside = [told.log[one.name] for one in ones if one.name in told.log]
        for who, seconds in (("client", seen), ("gateway", inside)):
            quick = sum(one < SHED_SECONDS for one in seconds) / max(1, len(seconds))
            times = [f"{quantile(seconds, q) * 1000:.2f}" for q in (0.5, 0.95, 0.99, 1.0)]
            table.add_row(f"{where}, {who}", str(len(seconds)), *times, f"{quick:.1%}")
    console.print(table)
    _verdicts(console, told, by_kind, skipped)


def _verdicts(console: Console, told: Run, by_kind: Mapping[str, Part], skipped: float) -> None:
    everybody, critical = by_kind["all"], by_kind["critical"]
    slo = SLO_SECONDS + SERVICE
    measured = {
        f"goodput ≥ {GOODPUT:.0%} of {told.capacity:g}/s": (told.goodput(skipped), told.goodput(skipped) >= GOODPUT),
        f"critical served ≥ {CRITICAL:.0%}": (
            share := len(critical.served) / max(1, len(critical.tries)),
            share >= CRITICAL,
        ),
        f"first token p95 ≤ {slo:g} s": (p95 := quantile(everybody.first_tokens, 0.95), p95 <= slo),
        f"shed p95 < {SHED_SECONDS * 1000:g} ms": (
            p95 := quantile([one.ended - one.sent for one in everybody.shed], 0.95),
            p95 < SHED_SECONDS,
        ),
    }
    for name, (value, met) in measured.items():
        console.print(f"{name:<32} {value:.4f}  {'[green]met[/]' if met else '[red]missed[/]'}", highlight=False)


@click.command()
@click.option("--seconds", type=click.FloatRange(5), default=30.0, show_default=True)
@click.option("--skip", default=5.0, show_default=True, help="Seconds at the start that are not counted.")
@click.option(
    "--upstream",
    "laws",
    type=click.Choice(list(LIMITS)),
    multiple=True,
    help="What it does with too much; default each.",
)
@click.option("--factor", default=FACTOR, show_default=True, help="Offered, of what it can do.")
@click.option("--defaults", default="{}", help="Settings in JSON, as under `defaults`.")
@click.option("--shedding", default="{}", help="Likewise.")
@click.option("--seed", default=0, show_default=True)
def main(
    seconds: float, skip: float, laws: Sequence[str], factor: float, defaults: str, shedding: str, seed: int
) -> None:
    """Three times the capacity of an upstream: who is served, and how fast the others hear of it."""
    console = Console()
    for law in laws or LIMITS:
        console.rule(f"{factor:g} x {SLOTS / SERVICE:g} calls/s, too much {law}")
        with tempfile.TemporaryDirectory() as folder:
            told = uvloop.run(
                run(
                    law,
                    seconds,
                    Path(folder),
                    defaults=json.loads(defaults),
                    shedding=json.loads(shedding),
                    factor=factor,
                    seed=seed,
                )
            )
        show(console, told, skip)
        console.print(
            f"goodput of the first {skip:g} s too: {told.goodput(0):.3f}; clients came {told.latest * 1000:.0f} ms late at most"
        )


if __name__ == "__main__":
    main()
