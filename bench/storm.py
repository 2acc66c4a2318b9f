"""python -m bench.storm: every target of a route fails for a minute, and what its clients and the gateway make of it.

Each target can do ``HEADROOM`` times what is asked for, so that retries are what decides: what was asked for and one retry in
ten is carried by every one of them alone, and three attempts for each call by all of them together are not. While it
fails, a target takes as long for an error as for an answer (``errors``) or takes requests and does nothing (``timeouts``);
work whose client has left is done all the same. Calls come by the clock, 10 s before, and 30 s after as well; clients try
twice again as the openai SDK does. With ``--without`` breakers, budgets, limits, throttles and shedding are off.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from bench import limited, stage
from bench.offered import Called, Clients

BEFORE_SECONDS, AFTER_SECONDS = 10.0, 30.0
HEADROOM = 1.2
TARGETS = 2
TRIGGERS = {"errors": limited.ERRORS, "timeouts": limited.STOPPED}
RATIO = 0.1  # the default of retry.budget.ratio
GOODPUT = 0.95
FIRST_TOKEN_SECONDS = 1.0
PATIENCE_SECONDS = 4.0
BARS = " ▁▂▃▄▅▆▇█"
MARGIN, MOST = 21, 4  # of the plot: columns to its left, and its top in multiples of the rate


@dataclass(frozen=True, slots=True)
class Second:
    """One second of the run, from ``start`` on, 0 being the first of the failure. ``calls`` arrived in it, ``served`` of them
    were; ``requests`` came to the gateway, ``posts`` to its targets.
    """

    start: int
    calls: int
    served: int
    requests: int
    posts: int

    @property
    def goodput(self) -> float:
        return self.served / self.calls if self.calls else 1.0


@dataclass(frozen=True, slots=True)
class Storm:
    """``failing`` seconds long."""

    seconds: Sequence[Second]
    failing: int

    @property
    def during(self) -> list[Second]:
        return [second for second in self.seconds if 0 <= second.start < self.failing]

    @property
    def amplification(self) -> float:
        """Requests to the targets for each that came to the gateway, while all fail."""
        return sum(second.posts for second in self.during) / sum(second.requests for second in self.during)

    @property
    def in_all(self) -> float:
        """Requests to the targets for each call that a client wanted: what its own retries make of it."""
        return sum(second.posts for second in self.during) / sum(second.calls for second in self.during)

    @property
    def recovered(self) -> int | None:
        """Seconds from the end of the failure after which goodput stays at 95 % or above; None if it never does."""
        after = [second for second in self.seconds if second.start >= self.failing]
        bad = [second.start for second in after if second.goodput < GOODPUT]
        if not bad:
            return 0
        return None if bad[-1] == after[-1].start else bad[-1] + 1 - self.failing


def storm(
    called: Sequence[Called], posts: Sequence[float], began: float, failing: int, whole: tuple[int, int]
) -> Storm:
    """``began``: the failure, on the monotonic clock; ``whole``: the first and the last second to tell of."""
    first, last = whole
    counts = {start: [0, 0, 0, 0] for start in range(first, last)}

    def count(at: float, column: int) -> None:
        row = counts.get(int((at - began) // 1))
        if row is not None:
            row[column] += 1

    for call in called:
        count(call.arrived, 0)
        if call.ok:
            count(call.arrived, 1)
        for tried in call.tries:
            count(tried.sent, 2)
    for at in posts:
        count(at, 3)
    return Storm([Second(start, *row) for start, row in counts.items()], failing)


def config(upstreams: Sequence[stage.Limited], *, protected: bool) -> dict[str, Any]:
    """The defaults, but for the time that a first token may take; or nothing of what keeps failures where they are."""
    defaults: dict[str, Any] = {
        "timeouts": {"first_token": FIRST_TOKEN_SECONDS, "idle": 5, "total": 10},
        "breaker": {"slow_first_token": FIRST_TOKEN_SECONDS * 0.9},
    }
    settings: dict[str, Any] = {
        "providers": [
            {"name": one.name, "kind": "openai-compatible", "base_url": f"http://127.0.0.1:{one.port}/v1"}
            for one in upstreams
        ],
        "routes": [{"model": "m", "targets": [{"provider": one.name, "model": "x"} for one in upstreams]}],
        "defaults": defaults,
    }
    if not protected:
        off = {"enabled": False}
        defaults |= {"breaker": off, "concurrency": off, "throttle": off, "probing": off}
        defaults["retry"] = {"max_attempts": 3, "budget": off, "concurrency": off, "dont_retry": off}
        settings["shedding"] = off
    return settings


async def run(
    rate: float,
    failing: int,
    trigger: str,
    *,
    protected: bool,
    folder: Path,
    before: float = BEFORE_SECONDS,
    after: float = AFTER_SECONDS,
    targets: int = TARGETS,
    seed: int = 0,
    changes: dict[str, Any] | None = None,
) -> tuple[Storm, Clients]:
    """``changes`` to the settings' ``defaults``."""
    names = [f"target-{number}" for number in range(1, targets + 1)]
    with stage.limited(names, folder, "--service", str(1 / (HEADROOM * rate))) as upstreams:
        settings = config(upstreams, protected=protected)
        settings["defaults"] |= changes or {}
        with stage.gateway(settings, folder) as edge:
            clients = Clients(edge.port, PATIENCE_SECONDS, seed)
            load = asyncio.create_task(clients.come(rate, before + failing + after, {"default": 1.0}))
            await asyncio.sleep(before)
            began = time.monotonic()
            await _turn(upstreams, TRIGGERS[trigger])
            await asyncio.sleep(began + failing - time.monotonic())
            await _turn(upstreams, limited.OK)
            await load
            posts = [at for one in upstreams for at in await asyncio.to_thread(one.posts)]
            clients.hang_up()
    return storm(clients.called, posts, began, failing, (-int(before), failing + int(after))), clients


async def _turn(upstreams: Sequence[stage.Limited], mode: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(one.turn, mode) for one in upstreams))


def plot(values: Sequence[float], top: float) -> str:
    """A bar a second."""
    steps = len(BARS) - 1
    return "".join(BARS[min(steps, round(value / top * steps))] for value in values)


def show(console: Console, told: Storm, rate: float) -> None:
    seconds = told.seconds
    width = max(20, console.width - MARGIN)
    for at in range(0, len(seconds), width):
        part = seconds[at : at + width]
        rows = {
            f"from {part[0].start} s": "".join("x" if 0 <= second.start < told.failing else "·" for second in part),
            "goodput, to 100 %": plot([second.goodput for second in part], 1.0),
            f"upstream, to {MOST * rate:.0f}/s": plot([second.posts for second in part], MOST * rate),
        }
        for name, row in rows.items():
            console.print(f"{name:<{MARGIN}}{row}", highlight=False)
    phases = {
        "before": [second for second in seconds if second.start < 0],
        "all fail": told.during,
        "after": [second for second in seconds if second.start >= told.failing],
    }
    table = Table("", "calls/s", "requests/s", "upstream/s", "upstream/call", "served", box=HORIZONTALS)
    for name, part in phases.items():
        calls, requests, posts, served = (
            sum(getattr(second, what) for second in part) for what in ("calls", "requests", "posts", "served")
        )
        rates = [f"{number / len(part):.1f}" for number in (calls, requests, posts)]
        table.add_row(name, *rates, f"{posts / calls:.2f}", f"{served / calls:.1%}")
    console.print(table)
    limit = 1 + RATIO
    met = "[green]met[/]" if told.amplification <= limit else "[red]missed[/]"
    console.print(
        f"amplification while all fail: {told.amplification:.3f} a request (≤ {limit:g}: {met}), {told.in_all:.3f} a call"
    )
    if told.recovered is None:
        console.print(f"goodput did not come back over {GOODPUT:.0%}: [red]it stays down[/]")
    else:
        console.print(f"goodput is over {GOODPUT:.0%} for good {told.recovered} s after the end of the failure")


def statuses(called: Sequence[Called]) -> str:
    """How the requests ended."""
    counts: dict[int, int] = {}
    for call in called:
        for tried in call.tries:
            counts[tried.status] = counts.get(tried.status, 0) + 1
    return ", ".join(f"{status or 'no answer'}: {count}" for status, count in sorted(counts.items()))


@click.command()
@click.option("--seconds", type=click.IntRange(1), default=60, show_default=True, help="Of failure.")
@click.option("--after", type=click.FloatRange(1), default=AFTER_SECONDS, show_default=True, help="Seconds after it.")
@click.option("--rate", type=click.FloatRange(1), default=200.0, show_default=True, help="Calls a second.")
@click.option("--trigger", type=click.Choice(list(TRIGGERS)), multiple=True, help="Default: each, one after the other.")
@click.option("--targets", type=click.IntRange(1), default=TARGETS, show_default=True)
@click.option("--without", is_flag=True, help="All protections off.")
@click.option("--defaults", default="{}", help="More settings in JSON, as under `defaults`.")
@click.option("--seed", default=0, show_default=True)
def main(
    seconds: int,
    after: float,
    rate: float,
    trigger: Sequence[str],
    targets: int,
    without: bool,
    defaults: str,
    seed: int,
) -> None:
    """All targets of a route fail: amplification meanwhile, and recovery."""
    console = Console()
    for each in trigger or TRIGGERS:
        off = "off" if without else "on"
        console.rule(f"{each} at {rate:g} calls/s, {targets} targets of {HEADROOM * rate:g}/s, protections {off}")
        with tempfile.TemporaryDirectory() as folder:
            told, clients = uvloop.run(
                run(
                    rate,
                    seconds,
                    each,
                    protected=not without,
                    folder=Path(folder),
                    after=after,
                    targets=targets,
                    seed=seed,
                    changes=json.loads(defaults),
                )
            )
        show(console, told, rate)
        ttfts = [
            one.first - one.sent for call in clients.called for one in call.tries if one.ok and one.first is not None
        ]
        console.print(
            f"answers: {statuses(clients.called)}; TTFT p50 {statistics.median(ttfts) * 1000:.1f} ms; "
            f"clients came {clients.latest * 1000:.0f} ms late at most"
        )


if __name__ == "__main__":
    main()
