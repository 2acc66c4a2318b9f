"""python -m bench.agreement: one scenario on real sockets and on the virtual clock, and how far the two are apart.

Live: a gateway process with mock providers, faults by its admin API, clients with a connection each. Virtual: the same
settings, providers, faults, request ids and moments of arrival. What differs is what the simulation leaves out: the sockets,
the CPU time of everything, and how exactly a machine keeps time.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import click
import orjson
import uvloop
from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from app.settings import Settings
from app.settings.faults import asked_of, rule_of
from app.wiring import Gateway, build
from bench import stage
from bench.offered import Connection
from providers import Endpoint, ProviderError, Request
from router import Call, RouterError
from router.sim import VirtualLoop
from router.sim.arrivals import poisson

RATE = 30.0
SEED = 5
PATIENCE_SECONDS = 20.0
QUANTILES = (0.5, 0.9, 0.95)
FIELDS: dict[str, Any] = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "say a word"}]}
BODY = orjson.dumps(FIELDS)
CONFIG: dict[str, Any] = {
    "providers": [
        {"name": "a", "kind": "mock", "ttft": {"lognormal": [0.15, 0.4]}, "token_interval": 0.01, "seed": 1},
        {
            "name": "b",
            "kind": "mock",
            "ttft": {"lognormal": [0.25, 0.4]},
            "token_interval": 0.01,
            "error_rate": 0.03,
            "seed": 2,
        },
    ],
    "routes": [{"model": "m", "targets": [{"provider": "a"}, {"provider": "b"}]}],
    # Which failure comes first decides when a breaker opens, and a millisecond may decide which comes first: what follows of
    # that has to be over before the next fault begins.
    "defaults": {"breaker": {"open_base": 1}},
    "telemetry": {"access_log": False},
    "chaos": {"max_active": 1000},
}
# (at, as shares of the whole), and what then.
FAULTS: Sequence[tuple[float, float, dict[str, Any]]] = (
    (0.1, 0.2, {"kind": "http_5xx", "target": ["a", "b"], "share": 0.3, "statuses": [500], "id": "sick"}),
    (0.6, 0.2, {"kind": "slow_ttft", "target": "a", "delay": 0.6, "id": "slow"}),
    (0.85, 0.12, {"kind": "truncate", "target": "b", "share": 0.3, "id": "cut"}),
)


class Came(NamedTuple):
    """``first``: seconds to the first content; None if there was none."""

    ok: bool
    first: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    calls: int
    availability: float
    first: dict[float, float]


@dataclass(frozen=True, slots=True)
class Agreement:
    live: Figures
    virtual: Figures

    @property
    def availability_apart(self) -> float:
        """In points."""
        return abs(self.live.availability - self.virtual.availability) * 100

    @property
    def first_apart(self) -> float:
        """The largest, of all quantiles, as a share of the live one."""
        live, virtual = self.live.first, self.virtual.first
        return max(abs(virtual[q] - live[q]) / live[q] for q in QUANTILES)


def compare(seconds: float, folder: Path) -> Agreement:
    arrivals = list(poisson(RATE, seconds, Random(SEED)))
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        virtual = runner.run(_virtual(arrivals, seconds))
    with stage.gateway(CONFIG, folder) as edge:
        live = uvloop.run(_live(edge, arrivals, seconds))
    return Agreement(figures(live), figures(virtual))


def figures(came: Sequence[Came]) -> Figures:
    first = sorted(each.first for each in came if each.first is not None)
    quantiles = {q: first[math.ceil(q * len(first)) - 1] for q in QUANTILES}
    return Figures(len(came), sum(each.ok for each in came) / len(came), quantiles)


async def _virtual(arrivals: Sequence[float], seconds: float) -> list[Came]:
    loop = asyncio.get_running_loop()
    gateway = build(Settings.model_validate(CONFIG), stopwatch=loop.time)
    for at, lasts, fault in FAULTS:
        asked = asked_of({**fault, "ttl": lasts * seconds})
        rule = rule_of(asked, fault["id"], gateway.lives, gateway.routes.named)
        loop.call_at(at * seconds, gateway.chaos.add, rule)
    try:
        return await asyncio.gather(*(_simulated(gateway, number, at) for number, at in enumerate(arrivals)))
    finally:
        await gateway.aclose()


async def _simulated(gateway: Gateway, number: int, at: float) -> Came:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(at - loop.time())
    came, first = loop.time(), None
    request = Request(f"call-{number}", Endpoint.CHAT, BODY, FIELDS, True, {}, faults=[])
    try:
        async with await gateway.dispatcher.open(Call(request, "m")) as reply:
            first = loop.time() - came
            async for _ in reply:
                pass
    except (RouterError, ProviderError):
        return Came(False, first)
    return Came(True, first)


async def _live(edge: stage.Edge, arrivals: Sequence[float], seconds: float) -> list[Came]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for at, lasts, fault in FAULTS:
            group.create_task(_inject(edge, began + at * seconds, {**fault, "ttl": lasts * seconds}))
        calls = [group.create_task(_called(edge.port, number, began + at)) for number, at in enumerate(arrivals)]
    return [call.result() for call in calls]


async def _inject(edge: stage.Edge, at: float, fault: dict[str, Any]) -> None:
    await asyncio.sleep(at - asyncio.get_running_loop().time())
    await asyncio.to_thread(stage.ask, edge.admin_port, "/admin/faults", method="POST", token=stage.TOKEN, body=fault)


async def _called(port: int, number: int, at: float) -> Came:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(at - loop.time())
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"x-request-id: call-{number}\r\nconnection: close\r\ncontent-length: {len(BODY)}\r\n\r\n"
    )
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    tried = await connection.ask(head.encode() + BODY, PATIENCE_SECONDS)
    connection.hang_up()
    return Came(tried.ok, None if tried.first is None else tried.first - tried.sent)


def told(agreement: Agreement) -> Table:
    table = Table(box=HORIZONTALS, header_style="bold")
    for heading in ("", "calls", "available", *(f"first token p{q * 100:g}" for q in QUANTILES)):
        table.add_column(heading, justify="right" if heading else "left")
    for name, figures_of in (("on real sockets", agreement.live), ("on the virtual clock", agreement.virtual)):
        quantiles = (f"{figures_of.first[q] * 1000:.0f} ms" for q in QUANTILES)
        table.add_row(name, f"{figures_of.calls:,}", f"{figures_of.availability:.2%}", *quantiles)
    return table


@click.command()
@click.option("--seconds", default=60.0, show_default=True)
def main(seconds: float) -> None:
    """How far the simulator is from the real thing."""
    with tempfile.TemporaryDirectory() as folder:
        agreement = compare(seconds, Path(folder))
    console = Console()
    console.print(told(agreement))
    console.print(
        f"apart: {agreement.availability_apart:.2f} points of availability, {agreement.first_apart:.1%} of the time to first token"
    )


if __name__ == "__main__":
    main()
