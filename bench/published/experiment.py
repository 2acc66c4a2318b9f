"""What an experiment is: runs that take time, and what is made of what they found."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from rich.box import HORIZONTALS
from rich.table import Table

SEED = 20_261
NEVER = "never"


class Experiment(NamedTuple):
    """``table`` and ``draw`` get what ``runs`` returned, under the same keys."""

    title: str
    runs: Mapping[Hashable, Callable[[], Any]]
    table: Callable[[Mapping[Any, Any]], Table]
    draw: Callable[[Mapping[Any, Any]], Figure]


def headed(title: str, *headings: str) -> Table:
    """The first column is words, the others are figures."""
    table = Table(title=title, title_justify="left", box=HORIZONTALS, padding=(0, 1, 0, 0))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table


def second(moment: float | None) -> str:
    return NEVER if moment is None else f"{moment:.0f} s"
