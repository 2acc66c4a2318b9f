"""Faults as people read them: what acts, what has acted, and what kinds there are."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

WHY = {
    "expired": "its time was over",
    "stopped": "stopped by hand",
    "dead_man": "no sign of life",
    "slo_guard": "its guard stopped it",
    "request_over": "its request was over",
}


def told(view: Mapping[str, Any]) -> str:
    """How often it has met an attempt, in words."""
    said = f"injected {view['injected']}, active {view['active']}"
    return f"{said}, spared {view['overflowed']}" if view["overflowed"] else said


def why_ended(view: Mapping[str, Any]) -> str:
    why = WHY.get(view["why"], view["why"])
    return f"{why}: {view['told']}" if view["told"] else why


def report_one(view: Mapping[str, Any]) -> None:
    """It has just begun."""
    acts = f"  {view['kind']} acts on {', '.join(view['targets'])} for {view['remaining_s']:.3g} s"
    console = _console()
    console.print(Text.assemble((view["id"], "bold"), acts))
    console.print(Text(f"  {_whom(view)}; {_knobs(view['knobs']) or 'no knobs'}", style="dim"))
    console.print(Text(f"  end it: breakwater fault clear {view['id']}", style="dim"))


def report_faults(listed: Mapping[str, Any]) -> None:
    console = _console()
    if not listed["enabled"]:
        console.print(Text("Chaos is off in this gateway's configuration (chaos.enabled).", style="yellow"))
    if listed["faults"]:
        table = _table("fault", "kind", "targets", "whom", "left", "injected", "active", "spared", "knobs")
        for view in listed["faults"]:
            table.add_row(*_row(view, f"{view['remaining_s']:.0f} s"))
        console.print(table)
    else:
        console.print("No fault acts.")
    if listed["ended"]:
        console.print()
        table = _table("ended", "kind", "targets", "whom", "why", "injected", "active", "spared", "knobs")
        for view in listed["ended"]:
            table.add_row(*_row(view, why_ended(view)), style="dim")
        console.print(table)


def report_kinds(kinds: Mapping[str, Mapping[str, Any]]) -> None:
    table = _table("", "kind", "what it does", "knobs and what they are if nobody says")
    for kind, row in kinds.items():
        more = {"share": row["share"]} if row["share"] != 1 else {}
        if row["per"] != "attempt":
            more["per"] = row["per"]
        table.add_row(row["number"], Text(kind, style="bold"), row["does"], _knobs(row["knobs"] | more))
    _console().print(table)


def _row(view: Mapping[str, Any], third: str) -> list[Text]:
    numbers = (str(view["injected"]), str(view["active"]), str(view["overflowed"]))
    cells = (view["kind"], ", ".join(view["targets"]), _whom(view), third, *numbers, _knobs(view["knobs"]))
    return [Text(view["id"], style="bold"), *(Text(cell) for cell in cells)]


def _whom(view: Mapping[str, Any]) -> str:
    every = {"attempt": "attempts", "request": "requests", "session": "sessions"}[view["per"]]
    said = f"{view['share']:.4g} of {every}" if view["share"] < 1 else f"all {every}"
    return f"{said} for {view['route']}" if view["route"] else said


def _knobs(knobs: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_value(value)}" for name, value in knobs.items())


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in ("injected", "active", "spared") else "left")
    return table


def _console() -> Console:
    # Only a terminal has a width to fit into.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 250)
