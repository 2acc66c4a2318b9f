"""Find the configuration, read it, check all of it, and say where it came from."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.settings.checks import cross_check
from app.settings.document import Document, read
from app.settings.environment import overlay
from app.settings.model import NOT_YET, STRATEGIES_NOT_YET, ProviderSettings, Settings
from app.settings.problems import Path as KeyPath
from app.settings.problems import Problem, SettingsError, suggestion
from providers import Kind, kinds
from providers.law import Law

FILE_NAME = "breakwater.yaml"
_FROM_ENVIRONMENT = {  # variable: (provider's name, kind, where its value goes)
    "OPENAI_API_KEY": ("openai", "openai", "api_key"),
    "OPENAI_BASE_URL": ("openai", "openai", "base_url"),
    "VLLM_URL": ("vllm", "vllm", "base_url"),
    "BACKEND_URL": ("backend", "openai-compatible", "base_url"),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """``source`` is for people: a file's name, or what stood in for one."""

    settings: Settings
    source: str


def load(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Loaded:
    """The file given, else $BREAKWATER_CONFIG, else breakwater.yaml in ``cwd``, else from the environment, else built in.

    Raises ``SettingsError`` with all that is wrong.
    """
    document, source = _document(path, environ, cwd)
    problems = overlay(document, environ)
    settings = _validate(document, problems)
    if settings is not None:
        problems += cross_check(settings, document)
    if problems or settings is None:
        raise SettingsError(problems)
    return Loaded(settings, source)


def _document(path: Path | None, environ: Mapping[str, str], cwd: Path) -> tuple[Document, str]:
    named = path or (Path(environ["BREAKWATER_CONFIG"]) if environ.get("BREAKWATER_CONFIG") else None)
    if named is None and (cwd / FILE_NAME).exists():
        named = Path(FILE_NAME)
    if named is not None:
        try:
            raw = (cwd / named).read_bytes()
        except OSError as error:
            raise SettingsError([Problem(str(named), "", f"cannot be read: {error.strerror}")]) from None
        return read(str(named), raw, environ), str(named)
    given = [name for name in _FROM_ENVIRONMENT if environ.get(name)]
    if given:
        return _from_environment(given, environ), f"the environment ({', '.join(given)})"
    built_in = files("app.settings").joinpath("builtin.yaml").read_bytes()
    return read("the built-in configuration", built_in, environ), "the built-in demo configuration"


def _from_environment(given: list[str], environ: Mapping[str, str]) -> Document:
    providers: dict[str, dict[str, Any]] = {}
    for variable in given:
        name, kind, option = _FROM_ENVIRONMENT[variable]
        value = environ[variable]
        if option == "base_url" and not value.rstrip("/").endswith("/v1"):
            value = value.rstrip("/") + "/v1"  # as the variables are usually set: the server's address
        providers.setdefault(name, {"name": name, "kind": kind})[option] = value
    targets = [{"provider": name} for name in providers]
    data = {"providers": list(providers.values()), "routes": [{"model": "*", "targets": targets}]}
    return Document("environment", data)


def _validate(document: Document, problems: list[Problem]) -> Settings | None:
    """None if there is anything to say; ``problems`` grows."""
    data = dict(document.data)
    before = len(problems)
    if isinstance(data.get("providers"), list):
        makers = kinds()
        entries = enumerate(data["providers"])
        built = [_provider(entry, ("providers", index), makers, document, problems) for index, entry in entries]
        data["providers"] = [entry for entry in built if entry is not None] or built
    provider_problems = len(problems) - before
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        # Providers have been reported one by one already, and better.
        found = [e for e in error.errors() if not (provider_problems and e["loc"][0] == "providers")]
        problems += [_problem(dict(e), document) for e in found]
        return None
    return None if provider_problems else settings


def _provider(
    entry: Any, path: KeyPath, makers: Mapping[str, Kind], document: Document, problems: list[Problem]
) -> ProviderSettings | None:
    def wrong(message: str, *key: str | int, hint: str | None = None) -> None:
        problems.append(Problem.at(document.where((*path, *key)), (*path, *key), message, hint))

    before = len(problems)
    if not isinstance(entry, dict):
        wrong("must be a mapping with name and kind")
        return None
    for key in ("name", "kind"):
        if not isinstance(entry.get(key), str):
            wrong("missing" if key not in entry else "must be a string", key)
    kind = makers.get(entry["kind"]) if isinstance(entry.get("kind"), str) else None
    if kind is None:
        if isinstance(entry.get("kind"), str):
            wrong(f'there is no kind "{entry["kind"]}"', "kind", hint=suggestion(entry["kind"], makers))
        return None
    options = {key: value for key, value in entry.items() if key not in ("name", "kind")}
    built = _options(kind, options, wrong)
    if len(problems) > before:
        return None
    try:
        return ProviderSettings(name=entry["name"], kind=entry["kind"], options=built)
    except ValidationError:
        wrong("must be 1 to 64 letters, digits, dots, dashes or underscores", "name")
        return None


def _options(kind: Kind, given: dict[str, Any], wrong: typing.Callable[..., None]) -> Any:
    """An instance of the kind's options. Never shows a value: it may be a key."""
    known = {field.name for field in dataclasses.fields(kind.options)}
    types = typing.get_type_hints(kind.options)
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            wrong("unknown key", key, hint=suggestion(key, known))
        elif types[key] is Law:
            try:
                values[key] = Law.parse(value)
            except ValueError as error:
                wrong(str(error), key)
        elif key == "api_key" and not value:
            values[key] = None  # ${VLLM_API_KEY:-}
        else:
            values[key] = value
    try:
        return TypeAdapter(kind.options).validate_python(values)
    except ValidationError as error:
        for e in error.errors():
            _option_problem(dict(e), wrong)
    return None


def _option_problem(error: dict[str, Any], wrong: typing.Callable[..., None]) -> None:
    message = str(error["msg"]).removeprefix("Value error, ")
    key = [part for part in error["loc"] if isinstance(part, str | int)]
    if not key and ": " in message:  # from __post_init__: "field: what is wrong with it"
        field, _, message = message.partition(": ")
        key = [field]
    if error["type"] == "missing":
        message = "missing"
    wrong(message, *key)


def _problem(error: dict[str, Any], document: Document) -> Problem:
    """A pydantic error in our words."""
    loc: KeyPath = tuple(error["loc"])
    names = tuple(part for part in loc if isinstance(part, str))
    where = document.where(loc)
    message = str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    match error["type"]:
        case "extra_forbidden" if names in NOT_YET:
            hint = "remove it: a control that looks on but is not is worse than none"
            return Problem.at(where, loc, "is not in this version yet", hint)
        case "extra_forbidden":
            return Problem.at(where, loc, "unknown key", suggestion(names[-1], _known_at(names[:-1])))
        case "literal_error" if names == ("routes", "strategy") and error["input"] in STRATEGIES_NOT_YET:
            return Problem.at(
                where, loc, f'the strategy "{error["input"]}" is not in this version yet', 'use "weighted"'
            )
        case "missing":
            return Problem.at(where, loc, "missing")
    return Problem.at(where, loc, message)


def _known_at(names: tuple[str, ...]) -> list[str]:
    """The keys that the section at ``names`` can have."""
    section: Any = Settings
    for name in names:
        section = _section_in(section.model_fields[name].annotation)
    return list(section.model_fields)


def _section_in(annotation: Any) -> Any:
    """The model class inside ``list[X]``, ``X | None`` or Annotated."""
    if hasattr(annotation, "model_fields"):
        return annotation
    for inner in typing.get_args(annotation):
        found = _section_in(inner)
        if found is not None:
            return found
    return None
