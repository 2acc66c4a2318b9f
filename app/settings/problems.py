"""What is wrong with a configuration: where, which key, why, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """``where`` is "breakwater.yaml:12" or "environment NAME". Holds no value of a secret."""

    where: str
    key: str
    message: str
    suggestion: str | None = None

    @classmethod
    def at(cls, where: str, path: Path, message: str, suggestion: str | None = None) -> Problem:
        return cls(where, dotted(path), message, suggestion)

    def __str__(self) -> str:
        head = f"{self.where}: {self.key}: " if self.key else f"{self.where}: "
        tail = f"; {self.suggestion}" if self.suggestion else ""
        return head + self.message + tail


class SettingsError(Exception):
    """Every problem at once, each on a line of its own."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def dotted(path: Path) -> str:
    """("routes", 0, "model") as people write it: routes[0].model"""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """The nearest known name, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else f"known: {', '.join(names) or 'none'}"
