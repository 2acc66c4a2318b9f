"""The scenario files that ship, by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

FOLDER = "drills"
SUFFIX = ".yaml"


def shipped() -> Mapping[str, Path]:
    """By name, in alphabetical order."""
    found = {entry.name: Path(str(entry)) for entry in files(FOLDER).iterdir() if entry.name.endswith(SUFFIX)}
    return {name.removesuffix(SUFFIX): found[name] for name in sorted(found)}
