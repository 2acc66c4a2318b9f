"""What the environment says over the file: ``BREAKWATER_A__B``, the short names, and what this version refuses.

Our own reader and not pydantic-settings: that passes over names that it does not know, cannot reach into lists, and
tells no one which variable a value came from.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from app.settings.document import read_value
from app.settings.draft import Draft
from app.settings.problems import THIS_VERSION, Location, Problem, nearest, unknown

PREFIX = "BREAKWATER_"
CONFIG = "BREAKWATER_CONFIG"
RESERVED = frozenset({CONFIG, "BREAKWATER_API_KEY", "BREAKWATER_URL"})  # read by the commands themselves
SHORT = {"HOST": ("server", "host"), "PORT": ("server", "port"), "LOG_LEVEL": ("telemetry", "log_level")}
AUTHENTICATION = ("GATEWAY_API_KEYS", "JWT_SECRET")


def overlay(draft: Draft, environ: Mapping[str, str]) -> None:
    """Write the environment over the draft. A variable that is empty is not set."""
    given = {name: text for name, text in sorted(environ.items()) if text.strip()}
    for name in AUTHENTICATION:
        if name in given:
            message = (
                f"this version ({THIS_VERSION}) has no authentication yet; unset it: "
                "a control that looks on but is not is worse than none"
            )
            draft.problems.append(Problem(f"environment {name}", "", message))
    for name, parts in SHORT.items():
        if name in given:
            draft.put(parts, given[name].strip(), f"environment {name}")
    if "DEBUG" in given:
        _debug(draft, given["DEBUG"])
    for name in _settings_among(given):
        _set(draft, name, given[name])
    if "PROVIDER_WEIGHTS" in given:
        _weigh(draft, given["PROVIDER_WEIGHTS"])


def names_of(model: type[BaseModel], prefix: str = PREFIX) -> list[str]:
    """The variables of all settings, lists as one."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        hint = field.annotation
        if isinstance(hint, type) and issubclass(hint, BaseModel):
            names += names_of(hint, f"{prefix}{name.upper()}__")
        else:
            names.append(f"{prefix}{name.upper()}")
    return names


def nearest_variable(name: str, names: Sequence[str]) -> str | None:
    """The one that lacks no more than its section, BREAKWATER_PORT; else the one that looks most like it."""
    ending = [known for known in names if known.endswith(f"__{name.removeprefix(PREFIX)}")]
    return ending[0] if len(ending) == 1 else nearest(name, names)


def variable_of(where: str, location: Location) -> str | None:
    """The variable that spells this location, if ``where`` is one: not a short name, and not one with a whole list."""
    name = where.removeprefix("environment ")
    spelled = _parts(name) if where != name and name.startswith(PREFIX) else []
    return name if spelled[: len(location)] == list(location) else None


def _parts(name: str) -> list[str]:
    return name.removeprefix(PREFIX).lower().split("__")


def _settings_among(given: Mapping[str, str]) -> Iterator[str]:
    """The variables meant for us. Kubernetes describes every service to every pod of its namespace in variables:
    beside a service named breakwater, BREAKWATER_PORT is none of ours.
    """
    services = [
        name.removesuffix("_SERVICE_HOST")
        for name in given
        if name.startswith(PREFIX)
        and name.endswith("_SERVICE_HOST")
        and re.match(r"(tcp|udp|sctp)://", given.get(name.removesuffix("_SERVICE_HOST") + "_PORT", ""))
    ]
    foreign = tuple(f"{service}_{rest}" for service in services for rest in ("SERVICE_", "PORT"))
    for name in given:
        if name.startswith(PREFIX) and name not in RESERVED and not name.startswith(foreign):
            yield name


def _set(draft: Draft, name: str, text: str) -> None:
    # Only lists, mappings and null are read as YAML. Everything else stays as it is and becomes a number where one is
    # wanted: a key such as `abc #1` or `0123` must not lose its end or its zero.
    text = text.strip()
    value: Any = text
    if text[0] in "[{" or text in ("null", "~"):
        try:
            value = read_value(text, draft)
        except ValueError as error:
            draft.problems.append(Problem(f"environment {name}", "", str(error)))
            return
    draft.put(_parts(name), value, f"environment {name}")


def _debug(draft: Draft, text: str) -> None:
    match text.strip().lower():
        case "1" | "true" | "yes" | "on":
            draft.put(("telemetry", "log_level"), "DEBUG", "environment DEBUG")
        case "0" | "false" | "no" | "off":
            pass
        case _:
            draft.problems.append(Problem("environment DEBUG", "", "must be true or false"))


def _weigh(draft: Draft, text: str) -> None:
    """PROVIDER_WEIGHTS over the weight of every target that no stronger variable gives."""
    where = "environment PROVIDER_WEIGHTS"
    try:
        weights = json.loads(text)
    except (ValueError, RecursionError):
        weights = None
    if not isinstance(weights, dict):
        message = 'must be a JSON object of providers and weights, such as {"openai": 70, "vllm": 30}'
        draft.problems.append(Problem(where, "", message))
        return
    known = [entry["name"] for _, entry in _mappings(draft.data.get("providers")) if isinstance(entry.get("name"), str)]
    for name, weight in weights.items():
        if name not in known:
            message, suggestion = unknown("provider", name, known)
            draft.problems.append(Problem(where, name, message, suggestion))
        elif not _is_weight(weight):
            draft.problems.append(Problem(where, name, "must be a number >= 0"))
    for route, entry in _mappings(draft.data.get("routes")):
        for target, values in _mappings(entry.get("targets")):
            location: Location = ("routes", route, "targets", target, "weight")
            weight = weights.get(values.get("provider")) if isinstance(values.get("provider"), str) else None
            stronger = "weight" in values and draft.where(location).startswith(f"environment {PREFIX}")
            if _is_weight(weight) and not stronger:
                draft.put([str(part) for part in location], weight, where)


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _mappings(value: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    if isinstance(value, list):
        yield from ((number, entry) for number, entry in enumerate(value) if isinstance(entry, dict))
