"""What is wrong with a configuration, in words: where it stands, which key, what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

THIS_VERSION = "0.1"

# A place inside the configuration: keys and list positions, outermost first.
Location = tuple[str | int, ...]
# Where, what is wrong, and the nearest right name if there is one.
Finding = tuple[Location, str] | tuple[Location, str, str | None]


@dataclass(frozen=True, slots=True)
class Problem:
    """``where`` is "file:line" or "environment NAME"; ``suggestion`` is the nearest right name, if one is near."""

    where: str
    key: str
    message: str
    suggestion: str | None = None

    @property
    def said(self) -> str:
        """All but where."""
        text = f"{self.key}: {self.message}" if self.key else self.message
        return text if self.suggestion is None else f'{text}; did you mean "{self.suggestion}"?'

    def as_json(self, severity: str) -> dict[str, Any]:
        """``file`` and ``line`` are null for what stands in no file; ``where`` says it in any case."""
        in_file = re.fullmatch(r"(.+):(\d+)", self.where)
        return {
            "severity": severity,
            "where": self.where,
            "file": in_file[1] if in_file else None,
            "line": int(in_file[2]) if in_file else None,
            "key": self.key or None,
            "message": self.message,
            "suggestion": self.suggestion,
        }

    def __str__(self) -> str:
        return f"{self.where}: {self.said}"


class SettingsError(Exception):
    """The configuration cannot be used. ``problems`` are all that were found; one line each in the text."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def written(location: Location) -> str:
    """``("providers", 1, "kind")`` as ``providers[1].kind``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def nearest(name: str, known: Collection[str]) -> str | None:
    folded = {candidate.lower(): candidate for candidate in known}
    found = get_close_matches(name.lower(), folded, n=1)
    return folded[found[0]] if found else None


def unknown(what: str, name: str, known: Collection[str]) -> tuple[str, str | None]:
    """Message and suggestion; without a near name, the message lists what is known."""
    suggestion = nearest(name, known)
    if suggestion is None and known:
        return f"unknown {what}; known here: {', '.join(sorted(known))}", None
    return f"unknown {what}", suggestion


def twice(what: str, named: Iterable[tuple[Location, str]], where: Callable[[Location], str]) -> Iterator[Finding]:
    """A finding at each name that was given before. Empty names are none."""
    first: dict[str, Location] = {}
    for location, name in named:
        if name and first.setdefault(name, location) != location:
            yield location, f'a second {what} "{name}"; the first is at {where(first[name])}'


def not_yet(what: str) -> str:
    return (
        f"`{what}` is not in this version yet ({THIS_VERSION}); remove it: "
        "a control that looks on but is not is worse than none"
    )
