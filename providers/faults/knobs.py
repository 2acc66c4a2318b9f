"""What is asked of a fault's knobs. Every refusal begins with the knob's name."""

from __future__ import annotations

from typing import Any

# What is beyond these is a slip, and what is computed from it would overflow.
LEAST, MOST = 1e-6, 1e9


def not_below(fault: Any, least: float, *knobs: str) -> None:
    """Raises ``ValueError``. What is None is not asked about, here and below."""
    for knob in knobs:
        value = getattr(fault, knob)
        if value is not None and not least <= value <= MOST:
            raise ValueError(f"{knob}: must be at least {least:g} and at most {MOST:g}")


def above(fault: Any, bound: float, *knobs: str) -> None:
    """Raises ``ValueError``."""
    for knob in knobs:
        value = getattr(fault, knob)
        if value is not None and not bound + LEAST <= value <= MOST:
            raise ValueError(f"{knob}: must be above {bound:g}, by {LEAST:g} or more, and at most {MOST:g}")


def not_both(fault: Any, one: str, other: str) -> None:
    """Raises ``ValueError``."""
    if getattr(fault, one) is not None and getattr(fault, other) is not None:
        raise ValueError(f"{other}: is another way to say {one}; give one of the two")
