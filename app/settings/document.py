"""A YAML file as plain data, with the line of every value.

Values are expanded (``${NAME}``, ``${NAME:-default}``, ``$$``) after parsing, so that a variable's content can never
become structure. It does not know what any key means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from app.settings.problems import Path, Problem, SettingsError

MAX_BYTES = 1024 * 1024
MAX_VALUES = 100_000  # aliases can make a small file expand without end
_VARIABLE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(slots=True)
class Document:
    """``places`` says where each value, such as ("routes", 0, "model"), was given: "breakwater.yaml:12"."""

    name: str
    data: dict[str, Any]
    places: dict[Path, str] = field(default_factory=dict)

    def where(self, path: Path) -> str:
        """The place of ``path``, or of the nearest thing around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, self.name)


def read(name: str, raw: bytes, environ: Mapping[str, str]) -> Document:
    """Raises ``SettingsError`` with every problem of form in the file."""
    if len(raw) > MAX_BYTES:
        raise SettingsError([Problem(name, "", f"the file is larger than {MAX_BYTES} bytes")])
    try:
        root = yaml.compose(raw.decode("utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SettingsError([Problem(f"{name}:{line}", "", "the file is not UTF-8")]) from None
    except yaml.YAMLError as error:
        raise SettingsError([_syntax_problem(name, error)]) from None
    if not isinstance(root, yaml.MappingNode):
        raise SettingsError([Problem(f"{name}:1", "", "the file must hold a mapping: server, providers, routes, …")])
    builder = _Builder(name, environ)
    data = builder.mapping(root, ())
    if builder.problems:
        raise SettingsError(builder.problems)
    return Document(name, data, {path: f"{name}:{line}" for path, line in builder.lines.items()})


def expand(text: str, environ: Mapping[str, str]) -> tuple[str, list[str]]:
    """``text`` with its variables replaced, and the names of those that are missing."""
    missing: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        found, default = environ.get(match[1]), match[2]
        if not found and default is not None:  # as a shell does it: unset or empty
            return default
        if found is None:
            missing.append(match[1])
        return found or ""

    return _VARIABLE.sub(value, text), missing


class _Builder:
    """Walks the node tree once; ``problems`` and ``lines`` grow on the way."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self._name = name
        self._environ = environ
        self._values = 0
        self._scalars = yaml.SafeLoader("")

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        self._scalars.flatten_mapping(node)  # << merges, as PyYAML does them
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            here = (*path, key)
            if key in result:
                self._problem(key_node, here, f"given twice; first on line {self.lines[here]}")
                continue
            self.lines[here] = key_node.start_mark.line + 1
            result[key] = self._value(value_node, here)
        return result

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            raise SettingsError([Problem(self._name, "", f"the file expands to more than {MAX_VALUES} values")])
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self.lines[*path, index] = item.start_mark.line + 1
                items.append(self._value(item, (*path, index)))
            return items
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        try:
            value = self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self._problem(node, path, "this value cannot be read")
            return None
        if not isinstance(value, str):
            return value
        text, missing = expand(value, self._environ)
        for variable in missing:
            hint = f"set it, or give a default: ${{{variable}:-}}"
            self._problem(node, path, f"the environment variable {variable} is not set", hint)
        return text

    def _problem(self, node: yaml.Node, path: Path, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem.at(f"{self._name}:{node.start_mark.line + 1}", path, message, hint))


def _syntax_problem(name: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error)
    if mark is None:
        return Problem(f"{name}:1", "", f"this is not YAML: {what}")
    return Problem(f"{name}:{mark.line + 1}", "", f"this is not YAML: {what} (column {mark.column + 1})")
