"""The live view: one screen of at least 80 by 24, drawn anew from figures each time."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.demo.figures import Figures, TargetFigures, figures
from app.demo.traffic import Failover, Traffic
from app.demo.world import MODEL, World

LEVELS = "▁▂▃▄▅▆▇█"
COLOURS = {"mock_steady": "green", "mock_flaky": "yellow", "mock_slow": "blue"}
OTHER_LINES = 17  # all that is not the list of failovers
STATE_WIDTH = 12
OTHER_COLUMNS = 70  # all that is not the bars
FAILING_IN_A_ROW = 3  # below it, it is chance


def screen(world: World, traffic: Traffic, now: float, width: int, height: int) -> RenderableType:
    shown = figures(world, traffic, now)
    return Group(
        _title(shown),
        Text(),
        _targets(shown.targets, width),
        Text(),
        _clients(shown),
        *_history(traffic, now, width),
        Text(),
        Text("What clients did not notice", "bold"),
        *_failovers(traffic.failovers, max(3, height - OTHER_LINES)),
        Text(),
        _addresses(world),
        *try_it(world),
    )


def try_it(world: World) -> tuple[Text, Text]:
    """Two lines to paste into another terminal; without borders, and short enough not to be wrapped."""
    body = f'{{"model":"{MODEL}","messages":[{{"role":"user","content":"Hello?"}}]}}'
    return (
        Text(f"curl -si {world.url}/v1/chat/completions --json \\", "cyan", no_wrap=True),
        Text(f"  '{body}'", "cyan", no_wrap=True),
    )


def _title(shown: Figures) -> Table:
    line = Table.grid(expand=True)
    line.add_column()
    line.add_column(justify="right")
    minutes, seconds = divmod(int(shown.elapsed), 60)
    name = Text.assemble(("Breakwater", "bold"), (" · model ", "dim"), MODEL, (" · three providers, one flaky", "dim"))
    line.add_row(name, Text.assemble(f"{minutes:02}:{seconds:02}", ("  Ctrl-C ends", "dim")))
    return line


def _targets(targets: Sequence[TargetFigures], width: int) -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, no_wrap=True)
    for _ in range(5):
        table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, min_width=STATE_WIDTH)
    heads = ("target", "calls/s", "", "answered", "failed", "TTFT p50", "p95", "")
    table.add_row(*(Text(head, "dim") for head in heads))
    most = max(1.0, *(target.answered_rate + target.failed_rate for target in targets))
    for target in targets:
        table.add_row(
            Text(target.name, COLOURS.get(target.name, "")),
            _bar(target, most, max(8, width - OTHER_COLUMNS)),
            f"{target.answered_rate + target.failed_rate:.1f}",
            str(target.answered),
            Text(str(target.failed), "red" if target.failed else "dim"),
            latency(target.p50),
            latency(target.p95),
            _state(target),
        )
    return table


def _bar(target: TargetFigures, most: float, width: int) -> Text:
    answered = round(target.answered_rate / most * width)
    failed = round((target.answered_rate + target.failed_rate) / most * width) - answered
    return Text.assemble(("█" * answered, COLOURS.get(target.name, "")), ("░" * failed, "red"))


def _state(target: TargetFigures) -> Text:
    if target.failing < FAILING_IN_A_ROW:
        return Text("ok", "green")
    return Text(f"failing ×{target.failing}", "bold red")


def latency(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _clients(shown: Figures) -> Text:
    errors = shown.client_errors
    return Text.assemble(
        ("clients  ", "bold"),
        f"{shown.requests} requests, ",
        (f"{errors} errors", "bold red" if errors else "bold green"),
        (f"   {shown.absorbed} failures of providers absorbed", ""),
    )


def _history(traffic: Traffic, now: float, width: int) -> list[Text]:
    seconds = traffic.history(now)[-(width - 30) :]
    requests, failed = [second.requests for second in seconds], [second.failed for second in seconds]
    most = max([1, *requests, *failed])
    return [
        Text.assemble(("requests ", "dim"), (sparkline(requests, most), "green"), (f" {_last(requests)}/s", "dim")),
        Text.assemble(("failures ", "dim"), (sparkline(failed, most), "red"), (f" {_last(failed)}/s absorbed", "dim")),
    ]


def _last(values: Sequence[int]) -> int:
    return values[-1] if values else 0


def sparkline(values: Sequence[int], most: int) -> str:
    """One character a value; a blank for none."""
    return "".join(" " if not value else LEVELS[min(7, value * 8 // (most + 1))] for value in values)


def _failovers(failovers: Sequence[Failover], lines: int) -> list[Text]:
    latest = list(failovers)[-lines:][::-1]
    return [_failover(failover) for failover in latest] + [Text()] * (lines - len(latest))


def _failover(failover: Failover) -> Text:
    line = Text(no_wrap=True).append(time.strftime("%H:%M:%S  ", time.localtime(failover.at)), "dim")
    for place, (name, label) in enumerate(failover.hops):
        line.append(" → " if place else "", "dim")
        line.append(name, COLOURS.get(name, ""))
        line.append(f" {label}", "green" if label == "200" else "red")
    return line.append(f"  {latency(failover.seconds)}{', stream' if failover.stream else ''}", "dim")


def _addresses(world: World) -> Text:
    return Text.assemble(
        ("API ", "dim"),
        f"{world.url}/v1",
        ("   docs ", "dim"),
        f"{world.url}/docs\n",
        ("metrics ", "dim"),
        world.metrics_url,
        no_wrap=True,
    )
