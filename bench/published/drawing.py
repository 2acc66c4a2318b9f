"""How every picture looks, and how it becomes a file: white behind, colours that the colour-blind can tell apart, words as text,
and the same bytes for the same figures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

# Okabe and Ito's.
BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
GREY, INK = "#D9D9D9", "#222222"
WIDTH = 8.0  # inches; 72 px each
STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],  # the first comes with matplotlib; readers may have another
    "font.size": 9,
    "grid.color": "#E8E8E8",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "breakwater",  # ids are hashes, salted at random otherwise
    "text.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


def panels(rows: int, columns: int, height: float, **more: Any) -> tuple[Figure, list[Axes]]:
    """Their axes, row by row; ``height`` in inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **more)
    return figure, list(axes.flat)


def changes(times: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """What a line of steps needs: the first, the last, and where it goes up or down."""
    last = len(values) - 1
    kept = [n for n in range(last + 1) if n in (0, last) or values[n] != values[n - 1]]
    return [times[n] for n in kept], [values[n] for n in kept]


def plain_numbers(*axes: Axis) -> None:
    """On a logarithmic axis: 0.1 instead of a power of ten."""
    for axis in axes:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def svg(draw: Callable[[], Figure]) -> bytes:
    """Lengths to a hundredth of a point: half the size, and nothing to be seen of it."""
    out = BytesIO()
    with mpl.rc_context(STYLE):
        draw().savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(rb"(\d\.\d\d)\d+", rb"\1", out.getvalue())


def save(draw: Callable[[], Figure], path: Path) -> int:
    """The number of bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.write_bytes(svg(draw))
