"""python -m bench.faults: every kind of fault on real sockets, streamed and not, as a table in Markdown.

Each row has a route of its own with two targets: ``a``, which the fault hits, and a spare one in the next tier. Calls come one
after the other: one before the fault, some under it, and then one after the other until ``a`` serves again. Timeouts are short,
so that a row takes seconds; all else is as by default, but for how long a breaker stays open (``--open``).
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import click
import uvloop

from app.cli.admin_api import AdminApi
from bench import stage
from bench.broken import TEXT, USAGE, Client, Seen, Upstream
from bench.fault_rows import ROWS, Row
from providers.faults import FAULTS

OPEN_SECONDS = 5.0
TIMEOUTS = {"connect": 0.5, "first_token": 1.2, "idle": 1.0, "attempt": 1.5, "total": 8}
TTL_SECONDS = 60.0
AT_ONCE = 30
GIVE_UP_SECONDS, LOOK_SECONDS = 20.0, 0.05
PATIENCE_SECONDS = 15.0
_SAMPLE = re.compile(r"^(\w+){(.*)} ([0-9.e+]+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(slots=True)
class Measured:
    """One row in one form. ``upstream`` and ``spare``: how many calls reached each under the fault; ``state`` of the target right
    after, and ``breaker`` in full; ``injected`` and ``alarms`` as the metrics have it; ``recovered``: seconds from the fault's end until the target served again, None if it took more than
    ``GIVE_UP_SECONDS`` or an operator (``by_hand``).
    """

    row: Row
    stream: bool
    seen: list[Seen] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    upstream: int = 0
    spare: int = 0
    state: str = ""
    breaker: dict[str, Any] = field(default_factory=dict)
    injected: float = 0
    alarms: float = 0
    recovered: float | None = None
    by_hand: bool = False

    @property
    def route(self) -> str:
        return f"{self.row.name}-{'stream' if self.stream else 'plain'}"

    @property
    def target(self) -> str:
        return f"{self.route}/{self.route}"


class Bench:
    """One gateway with a route for each row and form."""

    def __init__(self, edge: stage.Edge, upstream: Upstream, spare: Upstream) -> None:
        self.client = Client(edge.port, PATIENCE_SECONDS)
        self._upstream = upstream
        self._spare = spare
        self._api = AdminApi(f"http://127.0.0.1:{edge.admin_port}", stage.TOKEN)
        self._room = asyncio.Semaphore(AT_ONCE)

    async def measure(self, row: Row, *, stream: bool) -> Measured:
        one = Measured(row, stream)
        async with self._room:
            warm = await self._ask(one, "before")
            if warm.headers["x-target"] != one.target:
                raise SystemExit(f"{one.route}: not even without a fault: {warm}")
            await self._under_fault(one)
            await self._until_it_serves(one)
        return one

    async def _under_fault(self, one: Measured) -> None:
        row, route = one.row, one.route
        before = self._upstream.posts[route], self._spare.posts[route]
        target = [one.target, f"spare/{route}"] if row.both else one.target
        asked = {"id": route, "kind": row.kind, "target": target, "ttl": TTL_SECONDS, **row.more, **row.knobs}
        await self._admin("POST", "/admin/faults", asked)
        for number in range(row.calls):
            one.seen.append(await self._ask(one, str(number)))
            await asyncio.sleep(row.apart)
        one.upstream = self._upstream.posts[route] - before[0]
        one.spare = self._spare.posts[route] - before[1]
        view = await self._target(one)
        one.state, one.breaker = view["state"], view["guards"]["breaker"]
        await self._admin("DELETE", f"/admin/faults/{route}")

    async def _until_it_serves(self, one: Measured) -> None:
        began, number = time.monotonic(), 0
        while time.monotonic() - began < GIVE_UP_SECONDS:
            if one.state == "disabled" and not one.by_hand:
                view = await self._target(one)
                if view["state"] == "disabled" and view["until"] is None:
                    one.by_hand = True
                    await self._admin("POST", f"/admin/targets/{one.target}/close", {"reason": "the fault is over"})
            seen = await self._ask(one, f"after-{number}")
            if seen.headers.get("x-target") == one.target and seen.done and seen.text == TEXT:
                one.recovered = time.monotonic() - began
                return
            number += 1
            await asyncio.sleep(LOOK_SECONDS)

    async def _ask(self, one: Measured, name: str) -> Seen:
        body: dict[str, Any] = {
            "model": one.route,
            "stream": one.stream,
            "max_tokens": 16,
            "messages": [{"role": "user", "content": "say something"}],
        }
        if one.stream:
            body["stream_options"] = {"include_usage": True}
        return await self.client.chat(body, {"X-Request-ID": f"{one.route}.{name}"})

    async def _target(self, one: Measured) -> dict[str, Any]:
        targets = (await self._admin("GET", "/admin/targets"))["targets"]
        return next(target for target in targets if target["target"] == one.target)

    async def _admin(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return await asyncio.to_thread(self._api.send, method, path, body)


async def run(rows: Sequence[Row], folder: Path, open_seconds: float = OPEN_SECONDS) -> list[Measured]:
    async with Upstream() as upstream, Upstream() as spare:
        routes = {f"{row.name}-{form}": row.timeouts for row in rows for form in ("stream", "plain")}
        settings = config(routes, upstream.url, spare.url, open_seconds)
        at_the_gate = stage.gateway(settings, folder)
        edge = await asyncio.to_thread(at_the_gate.__enter__)
        try:
            bench = Bench(edge, upstream, spare)
            measured = await asyncio.gather(
                *(bench.measure(row, stream=stream) for row in rows for stream in (True, False))
            )
            metrics = await asyncio.to_thread(_metrics, edge.port)
            bench.client.hang_up()
        finally:
            await asyncio.to_thread(at_the_gate.__exit__, None, None, None)
    lines = {line["request_id"]: line for line in edge.lines()}
    for one in measured:
        one.lines = [lines[f"{one.route}.{number}"] for number in range(one.row.calls)]
        one.injected = metrics["breakwater_faults_injected_total", one.target, one.row.kind]
        one.alarms = metrics["breakwater_target_disabled_total", one.target, ""]
    return list(measured)


def config(routes: Mapping[str, Mapping[str, float]], upstream: str, spare: str, open_seconds: float) -> dict[str, Any]:
    """``routes`` with their own timeouts. A provider for each, since what disables or probes one is about its key and its server."""
    urls = {**dict.fromkeys(routes, upstream), "spare": spare}
    return {
        "providers": [{"name": name, "kind": "openai-compatible", "base_url": url} for name, url in urls.items()],
        "routes": [
            {"model": name, "targets": [{"provider": name}, {"provider": "spare", "tier": 1}], "timeouts": dict(own)}
            for name, own in routes.items()
        ],
        "defaults": {"timeouts": TIMEOUTS, "breaker": {"slow_first_token": 0.5, "open_base": open_seconds}},
        "chaos": {"max_active": 1000},
    }


def _metrics(port: int) -> Counter[tuple[str, str, str]]:
    """By name, target and fault, where they have those."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        page = answer.read().decode()
    samples: Counter[tuple[str, str, str]] = Counter()
    for name, labels, value in _SAMPLE.findall(page):
        named = dict(_LABEL.findall(labels))
        samples[name, named.get("target", ""), named.get("fault", "")] += float(value)  # type: ignore[assignment]
    return samples


def outcome(seen: Seen, one: Measured) -> str:
    """What a client saw, in a few words."""
    if seen.status != 200:
        return f"{seen.status} {seen.error}"
    if not seen.done:
        return f"cut: {seen.error}"
    who = "" if seen.headers["x-target"] == one.target else " from the spare"
    if seen.text != TEXT:
        who += ", other words" if seen.text else ", empty"
    if seen.usages != [USAGE]:
        who += ", other usage"
    return f"200{who}"


def outcomes(one: Measured) -> str:
    """Of all calls under the fault, in order, with how often."""
    told: list[list[Any]] = []
    for seen in one.seen:
        words = outcome(seen, one)
        if told and told[-1][1] == words:
            told[-1][0] += 1
        else:
            told.append([1, words])
    return ", then ".join(f"{count} × {words}" for count, words in told)


def attempts(one: Measured) -> str:
    """Of the first call."""
    return one.seen[0].headers.get("x-attempts", "").replace(one.target, "a").replace(f"spare/{one.route}", "b")


def table(measured: Sequence[Measured]) -> str:
    """In Markdown, a line for each row: what both forms have in common is said once."""
    lines = [
        "| fault | the client saw | attempts of the first call | upstream calls | then it is | serves again after |",
        "|---|---|---|--:|---|--:|",
    ]
    for stream, plain in zip(measured[::2], measured[1::2], strict=True):
        row = stream.row
        knobs = "".join(f" {name}={value}" for name, value in {**row.knobs, **row.more}.items())
        told = (outcomes, attempts, _reached, _state, _again)
        cells = [f"{FAULTS[row.kind].number} `{row.kind}`{knobs}", *(_cell(tell, stream, plain) for tell in told)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(tell: Callable[[Measured], str], stream: Measured, plain: Measured) -> str:
    one, other = tell(stream), tell(plain)
    return one if one == other else f"stream: {one}; plain: {other}"


def _reached(one: Measured) -> str:
    return f"{one.upstream} of {one.row.calls}"


def _state(one: Measured) -> str:
    return one.state


def _again(one: Measured) -> str:
    if one.recovered is None:
        return "never"
    return "by hand" if one.by_hand else f"{one.recovered:.1f} s"


@click.command()
@click.option("--open", "open_seconds", default=OPEN_SECONDS, show_default=True, help="As breaker.open_base.")
@click.argument("names", nargs=-1)
def main(open_seconds: float, names: Sequence[str]) -> None:
    """Measure all rows, or those NAMES."""
    rows = [row for row in ROWS if not names or row.name in names]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        measured = uvloop.run(run(rows, Path(folder), open_seconds))
    click.echo(table(measured))
    click.echo(f"\n{len(measured)} rows in {time.monotonic() - began:.0f} s", err=True)


if __name__ == "__main__":
    main()
