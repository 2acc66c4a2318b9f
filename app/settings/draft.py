"""A configuration as it was written: plain data, where each part of it stands, and what is wrong so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from app.settings.problems import Location, Problem, written

T = TypeVar("T")


class Draft:
    """Begun by a file or by the environment, overlaid by the environment, then validated.

    ``places`` says where a location stands ("file:line", "environment NAME"). What a place does not hold stands
    where the nearest outer location does; the outermost is ``label``. ``references`` are the texts in the file that take
    a part from the environment.
    """

    def __init__(self, label: str) -> None:
        self.data: dict[str, Any] = {}
        self.label = label
        self.places: dict[Location, str] = {}
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.faulty: set[Location] = set()
        self.references: set[Location] = set()
        self._unreadable: dict[Location, Problem] = {}

    def where(self, location: Location) -> str:
        for length in range(len(location), 0, -1):
            if place := self.places.get(location[:length]):
                return place
        return self.places.get((), self.label)

    def holds(self, location: Location) -> bool:
        """Whether it was given, in the file or by the environment."""
        holder: Any = self.data
        for part in location:
            if not _has(holder, part):
                return False
            holder = holder[part]
        return True

    def refuse(self, location: Location, message: str, suggestion: str | None = None, where: str | None = None) -> None:
        self.faulty.add(location)
        self.problems.append(Problem(where or self.where(location), written(location), message, suggestion))

    def warn(self, location: Location, message: str, suggestion: str | None = None) -> None:
        self.warnings.append(Problem(self.where(location), written(location), message, suggestion))

    def is_literal(self, location: Location) -> bool:
        """Whether the value stands in the file itself, for all who can read that."""
        return location not in self.references and not self.where(location).startswith("environment ")

    def unreadable(self, location: Location, message: str) -> None:
        """Note a value that could not be read; forgotten if the environment puts another in its place."""
        self.faulty.add(location)
        self._unreadable[location] = Problem(self.where(location), written(location), message)

    def is_unreadable(self, location: Location) -> bool:
        """Whether a value here or inside could not be read: then nothing more can be said about this one."""
        return any(inner[: len(location)] == location for inner in self._unreadable)

    def put(self, parts: Sequence[str], value: Any, where: str) -> None:
        """Write ``value`` over what stands there; mappings on the way are made, items of lists must exist."""
        holder: Any = self.data
        at: Location = ()
        for depth, part in enumerate(parts, start=1):
            key: str | int = part
            if isinstance(holder, list):
                if not (part.isdecimal() and int(part) < len(holder)):
                    self.refuse(at, f"there is no item {part!r}; the list has {len(holder)}", where=where)
                    return
                key = int(part)
            elif not isinstance(holder, dict):
                self.refuse(at, "is a plain value and has no settings inside", where=where)
                return
            at = (*at, key)
            if depth == len(parts):
                self._forget(at)
                holder[key] = value
                self.places[at] = where
            elif isinstance(holder, list) or holder.get(part) is not None:
                holder = holder[key]
            else:
                holder[key] = holder = {}
                self.places.setdefault(at, where)

    def found(self) -> list[Problem]:
        """All problems: those of files by line, then those of the environment."""
        return sorted({*self.problems, *self._unreadable.values()}, key=_order)

    def warned(self) -> list[Problem]:
        """All warnings, in the same order."""
        return sorted({*self.warnings}, key=_order)

    def _forget(self, location: Location) -> None:
        self.places = _without(self.places, location)
        self._unreadable = _without(self._unreadable, location)
        self.faulty = {inner for inner in self.faulty if inner[: len(location)] != location}


def _has(holder: Any, part: str | int) -> bool:
    if isinstance(holder, dict):
        return part in holder
    return isinstance(holder, list) and isinstance(part, int) and part < len(holder)


def _without(memory: dict[Location, T], location: Location) -> dict[Location, T]:
    return {inner: value for inner, value in memory.items() if inner[: len(location)] != location}


def _order(problem: Problem) -> tuple[bool, int, str, str, str]:
    head, _, line = problem.where.rpartition(":")
    in_file = line.isdecimal()
    return not in_file, int(line) if in_file else 0, head or line, problem.key, problem.message
