"""What Linux tells of a process in /proc: its children, the CPU time it has used, the memory it holds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def _fields(stat: str) -> list[str]:
    """The fields of a stat line from the third on: the second, the name, may hold spaces and brackets."""
    return stat.rpartition(")")[2].split()


def parent_of(stat: str) -> int:
    return int(_fields(stat)[1])


def ticks_of(stat: str) -> int:
    """User and system time of all threads, in ticks."""
    user, system = _fields(stat)[11:13]
    return int(user) + int(system)


def resident_bytes_of(status: str) -> int:
    """VmRSS. A process that is ending has none."""
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def idle_and_all(stat: str) -> tuple[int, int]:
    """Of /proc/stat: the ticks that all cores have spent waiting, and those they have spent at all."""
    ticks = [int(number) for number in stat.split("\n", 1)[0].split()[1:9]]  # the guests' are in the users' already
    return ticks[3] + ticks[4], sum(ticks)


def descendants(root: int, parents: dict[int, int]) -> list[int]:
    """``root`` and all processes under it; ``parents`` is every process's parent."""
    children = [child for child, parent in parents.items() if parent == root]
    return [root, *(process for child in children for process in descendants(child, parents))]


def tree(root: int) -> list[int]:
    parents = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            parents[int(folder.name)] = parent_of((folder / "stat").read_text())
        except OSError:  # ended meanwhile
            continue
    return descendants(root, parents)


def busy_share(seconds: float) -> float:
    """Of all cores, in the next ``seconds``: what anybody, on other machines of the same host too, takes of them."""
    idle, spent = idle_and_all((PROC / "stat").read_text())
    time.sleep(seconds)
    idle_then, spent_then = idle_and_all((PROC / "stat").read_text())
    return 1 - (idle_then - idle) / max(spent_then - spent, 1)


def cpu_seconds(processes: Iterable[int]) -> float:
    return sum(ticks_of((PROC / str(process) / "stat").read_text()) for process in processes) / TICKS_PER_SECOND


def resident_bytes(processes: Iterable[int]) -> int:
    return sum(resident_bytes_of((PROC / str(process) / "status").read_text()) for process in processes)
