"""What is asked of a fault's knobs. Every refusal begins with the knob's name."""

from __future__ import annotations

from typing import Any


def not_below(fault: Any, least: float, *knobs: str) -> None:
    """Raises ``ValueError``. What is None is not asked about, here and below."""
    for knob in knobs:
        value = getattr(fault, knob)
        if value is not None and value < least:
            raise ValueError(f"{knob}: must be at least {least:g}")


def above(fault: Any, bound: float, *knobs: str) -> None:
    """Raises ``ValueError``."""
    for knob in knobs:
        value = getattr(fault, knob)
        if value is not None and value <= bound:
            raise ValueError(f"{knob}: must be above {bound:g}")


def not_both(fault: Any, one: str, other: str) -> None:
    """Raises ``ValueError``."""
    if getattr(fault, one) is not None and getattr(fault, other) is not None:
        raise ValueError(f"{other}: is another way to say {one}; give one of the two")
