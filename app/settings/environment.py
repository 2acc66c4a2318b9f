"""Settings from the environment: laid over the file's data before anything is checked.

Not pydantic-settings: it reads nested names too, but ignores unknown ones, and a setting that does nothing is an error here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from app.settings.document import Document
from app.settings.model import Settings
from app.settings.problems import Path, Problem, suggestion

PREFIX = "BREAKWATER_"
RESERVED = frozenset({"BREAKWATER_CONFIG", "BREAKWATER_API_KEY", "BREAKWATER_URL"})  # read by the commands themselves
SHORT: Mapping[str, Path] = {
    "HOST": ("server", "host"),
    "PORT": ("server", "port"),
    "LOG_LEVEL": ("telemetry", "log_level"),
}
NO_AUTHENTICATION_YET = ("GATEWAY_API_KEYS", "JWT_SECRET")
_TRUE = frozenset({"1", "true", "yes", "on"})


def overlay(document: Document, environ: Mapping[str, str]) -> list[Problem]:
    """Change ``document`` in place. BREAKWATER_* is stronger than a short name, and that than the file."""
    problems = [
        Problem(f"environment {name}", "", "this version has no authentication yet", "unset it, and listen on loopback")
        for name in NO_AUTHENTICATION_YET
        if environ.get(name)
    ]
    for name, path in SHORT.items():
        if value := environ.get(name):
            _put(document, path, value.upper() if name == "LOG_LEVEL" else value, name)
    if environ.get("DEBUG", "").lower() in _TRUE:
        _put(document, SHORT["LOG_LEVEL"], "DEBUG", "DEBUG")
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in RESERVED:
            problems += _prefixed(document, name, environ[name])
    if weights := environ.get("PROVIDER_WEIGHTS"):
        problems += _weights(document, weights)
    return problems


def _prefixed(document: Document, name: str, text: str) -> list[Problem]:
    path: Path = tuple(part.lower() for part in name.removeprefix(PREFIX).split("__"))
    sections = Settings.model_fields
    if path[0] not in sections:
        known = [PREFIX + section.upper() for section in sections]
        return [
            Problem(f"environment {name}", "", "unknown setting", suggestion(name.split("__", maxsplit=1)[0], known))
        ]
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if not _put(document, path, value, name):
        return [Problem.at(f"environment {name}", path, "a list is set as a whole: give it as JSON")]
    return []


def _put(document: Document, path: Path, value: Any, name: str) -> bool:
    """False if the path leads through something that is no mapping."""
    place = document.data
    for part in path[:-1]:
        inner = place.get(str(part))
        if inner is None:
            inner = place[str(part)] = {}
        if not isinstance(inner, dict):
            return False
        place = inner
    place[str(path[-1])] = value
    for known in [known for known in document.places if known[: len(path)] == path]:
        del document.places[known]
    document.places[path] = f"environment {name}"
    return True


def _weights(document: Document, text: str) -> list[Problem]:
    where = "environment PROVIDER_WEIGHTS"
    try:
        weights = json.loads(text)
    except ValueError:
        weights = None
    if not isinstance(weights, dict):
        return [Problem(where, "", 'must be a JSON object: {"openai": 70, "vllm": 30}')]
    providers = [entry.get("name") for entry in _mappings(document.data.get("providers"))]
    names = [name for name in providers if isinstance(name, str)]
    problems = [
        Problem(where, name, "there is no such provider", suggestion(name, names))
        for name in weights
        if name not in names
    ]
    for number, route in enumerate(_mappings(document.data.get("routes"))):
        for index, target in enumerate(_mappings(route.get("targets"))):
            provider = target.get("provider")
            if isinstance(provider, str) and provider in weights:
                target["weight"] = weights[provider]
                document.places["routes", number, "targets", index, "weight"] = where
    return problems


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
