"""The demo in plain words: a line a second where there is no terminal, and a summary at the end."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.demo.figures import Figures
from app.demo.screen import COLOURS, FAILING_IN_A_ROW, latency


def line(shown: Figures) -> str:
    targets = ", ".join(
        f"{target.name} {target.answered_rate + target.failed_rate:.1f}/s"
        + (f" (failing, {target.failing} in a row)" if target.failing >= FAILING_IN_A_ROW else "")
        for target in shown.targets
    )
    return (
        f"{shown.elapsed:4.0f} s  {shown.requests} requests, {shown.client_errors} errors, "
        f"{shown.absorbed} failures absorbed | {targets}"
    )


def summary(shown: Figures) -> RenderableType:
    """One screen."""
    failures = sum(shown.failures.values())
    how = ", ".join(f"{count} × {name} {label}" for (name, label), count in sorted(shown.failures.items()))
    counts = Table.grid(padding=(0, 2))
    counts.add_column(justify="right")
    counts.add_column()
    counts.add_row(str(shown.requests), f"requests in {shown.elapsed:.0f} s, {shown.streams} of them streams")
    counts.add_row(Text(str(failures), "red"), f"calls to providers failed{f': {how}' if how else ''}")
    style = "bold red" if shown.client_errors else "bold green"
    counts.add_row(Text(str(shown.client_errors), style), Text("errors reached a client", style))
    targets = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    targets.add_column("target")
    for head in ("answered", "failed", "first token p50", "p95"):
        targets.add_column(head, justify="right")
    for target in shown.targets:
        name = Text(target.name, COLOURS.get(target.name, ""))
        row = (str(target.answered), str(target.failed), latency(target.p50), latency(target.p95))
        targets.add_row(name, *row)
    return Group(
        Text("\nBreakwater, after the demo", "bold"),
        Text(),
        counts,
        Text(),
        targets,
        Text(),
        Text("Your own providers: OPENAI_API_KEY or a breakwater.yaml, then: make run", "dim"),
    )
