"""Choose where the configuration comes from, read it, and raise everything that is wrong with it at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from app.settings.checks import check
from app.settings.discovery import discover
from app.settings.document import read
from app.settings.draft import Draft
from app.settings.environment import CONFIG, overlay
from app.settings.lints import lint
from app.settings.model import Settings
from app.settings.problems import Problem, SettingsError
from app.settings.validation import salvage, validate
from providers import Kind, kinds

DEFAULT_FILE = "breakwater.yaml"
MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Loaded:
    """``source`` is for people: what the settings were made of."""

    settings: Settings
    source: str


@dataclass(frozen=True, slots=True)
class Examined:
    """``loaded`` None: there are errors. Warnings are about settings that are sound, so there are none beside errors."""

    loaded: Loaded | None
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def load(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Loaded:
    """``path``, else $BREAKWATER_CONFIG, else breakwater.yaml in ``cwd``, else the environment, else the built-in demo.

    Raises ``SettingsError`` with all problems.
    """
    examined = examine(path, environ, cwd)
    if examined.loaded is None:
        raise SettingsError(examined.errors)
    return examined.loaded


def examine(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Examined:
    """The same without raising, and what looks wrong though it is allowed."""
    try:
        known = installed_kinds()
        draft, source = _begun(path, environ, cwd)
    except SettingsError as error:
        return Examined(None, error.problems)
    return _examined(draft, source, known, environ)


def examine_text(text: str, label: str, environ: Mapping[str, str]) -> Examined:
    """As if it stood in a file called ``label``."""
    try:
        known = installed_kinds()
        draft = read(text, label, environ)
    except SettingsError as error:
        return Examined(None, error.problems)
    return _examined(draft, label, known, environ)


def _examined(draft: Draft, source: str, known: Mapping[str, Kind], environ: Mapping[str, str]) -> Examined:
    overlay(draft, environ)
    settings = validate(draft, known)
    check(settings or salvage(draft, known), draft)
    errors = tuple(draft.found())
    if errors or settings is None:
        return Examined(None, errors)
    lint(settings, draft)
    return Examined(Loaded(settings, source), warnings=tuple(draft.warned()))


def _begun(path: Path | None, environ: Mapping[str, str], cwd: Path) -> tuple[Draft, str]:
    named = path or (Path(environ[CONFIG]) if environ.get(CONFIG) else None)
    if named is None and (cwd / DEFAULT_FILE).exists():
        named = Path(DEFAULT_FILE)
    if named is not None:
        label = str(named)
        return read(text_of(cwd / named, label), label, environ), label
    discovered = discover(environ)
    if discovered is not None:
        return discovered
    text = files("app.settings").joinpath("builtin.yaml").read_text(encoding="utf-8")
    return read(text, "built-in configuration", environ), "the built-in demo configuration"


def text_of(path: Path, label: str) -> str:
    """What a file says. Raises ``SettingsError`` under its ``label``."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise SettingsError([Problem(label, "", f"cannot be read: {reason}")]) from error
    if len(content) > MAX_BYTES:
        raise SettingsError([Problem(label, "", "is larger than 1 MiB, which no configuration needs")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError([Problem(f"{label}:{line}", "", "is not UTF-8 text")]) from error


def installed_kinds() -> Mapping[str, Kind]:
    """The kinds of provider. Raises ``SettingsError`` if a package's cannot be used."""
    try:
        return kinds()
    except (TypeError, ImportError, AttributeError) as error:
        message = f"a package's provider kind cannot be used: {error}"
        raise SettingsError([Problem("installed packages", "", message)]) from error
