"""What a run looks like on a terminal, or in a log: what held, the phases, and one line of figures."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.drills.load import Plan
from app.drills.seen import Span
from app.drills.verdict import State, Verdict, all_held


def report(plan: Plan, judged: Sequence[Verdict], steady: Sequence[State]) -> RenderableType:
    return Group(Text(plan.scenario.title, "bold"), Text(), _phases(steady), Text(), _held(judged))


def summary(plan: Plan, judged: Sequence[Verdict], calls: int, seconds: float) -> Text:
    """``seconds`` by the clock on the wall."""
    kept = sum(verdict.held for verdict in judged)
    colour = "green" if all_held(judged) else "red"
    speed = calls / seconds if seconds else 0.0
    figures = f"{calls:,} calls in {plan.scenario.duration:g} virtual s took {seconds:.1f} s ({speed:,.0f} calls/s)"
    return Text.assemble((f"{kept} of {len(judged)} held", f"bold {colour}"), f"; {figures}, seed {plan.seed}")


def _phases(steady: Sequence[State]) -> Table:
    table = _table("phase", "seconds", *steady[0].told)
    for state in steady:
        phase = state.phase if len(steady) > 1 else "whole run"
        table.add_row(phase, _seconds(state.span), *state.told.values())
    return table


def _held(judged: Sequence[Verdict]) -> Table:
    table = _table("", "expected", "", "seconds", "measured")
    for verdict in judged:
        mark = Text("held", "green") if verdict.held else Text("NOT HELD", "bold red")
        measured = Text(verdict.told, "" if verdict.held else "red")
        table.add_row(mark, verdict.name, verdict.wanted, _seconds(verdict.span), measured)
    return table


def _seconds(span: Span) -> str:
    return f"{span.begins:g}–{span.ends:g}"


def _table(*heads: str) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in heads:
        table.add_column(no_wrap=True)
    table.add_row(*(Text(head, "dim") for head in heads))
    return table
