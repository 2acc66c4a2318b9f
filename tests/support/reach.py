"""What an object keeps alive."""

from __future__ import annotations

import gc
from types import FunctionType, ModuleType


def keeps_alive(holder: object, kept: object) -> bool:
    """Whether ``kept`` is reached from ``holder`` through what it refers to; classes, functions and modules aside."""
    seen: set[int] = set()
    left = [holder]
    while left:
        one = left.pop()
        if one is kept:
            return True
        if id(one) not in seen and not isinstance(one, type | FunctionType | ModuleType):
            seen.add(id(one))
            left.extend(gc.get_referents(one))
    return False
