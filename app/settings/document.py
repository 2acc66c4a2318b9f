"""YAML text into a draft: data, the line of every key, and ``${NAME}`` filled in. Knows no setting by name.

Only the plain part of YAML: mappings, lists, text, numbers, truth values, null, anchors and merge keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from app.settings.draft import Draft
from app.settings.problems import Location, Problem, SettingsError, written

MAX_DEPTH = 32
MAX_VALUES = 200_000  # aliases make a small file large

_TAG = "tag:yaml.org,2002:"
_RESOLVER = yaml.resolver.Resolver()
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_REFERENCE = re.compile(r"\$\$|\$\{(?P<name>[^{}]*?)(?::-(?P<default>[^{}]*))?\}|\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# In a flow mapping, {key: ${NAME}}, YAML takes the inner braces for its own. These stand in for them while it reads:
# one character each, from the private use area, so that every column stays true.
_BRACES = {ord("\ue000"): "{", ord("\ue001"): "}"}
_SHIELDED = "$\ue000\\1\ue001"

Entries = dict[str, tuple[yaml.Node, yaml.Node]]


def read(text: str, label: str, environ: Mapping[str, str] | None, needs: str = "`providers` and `routes`") -> Draft:
    """The draft of a whole file, which ``needs`` these keys; ``environ`` None leaves ``${NAME}`` as it is. Raises
    ``SettingsError`` where nothing can be read; else the draft has the problems.
    """
    draft = Draft(label)
    draft.places[()] = f"{label}:1"
    node = _composed(text, label)
    if node is None or _is_null(node):
        raise SettingsError([Problem(label, "", f"is empty; it needs {needs}")])
    if not isinstance(node, yaml.MappingNode):
        raise SettingsError([Problem(f"{label}:1", "", f"must be a mapping, with keys such as {needs}")])
    draft.data = _Reader(draft, environ).value(node, ())
    return draft


def read_value(text: str, draft: Draft) -> Any:
    """A list or a mapping from one line. Raises ``ValueError`` that says why not; fills in no ``${NAME}``."""
    part = Draft(draft.label)
    try:
        node = _composed(text, draft.label)
        value = None if node is None else _Reader(part, None).value(node, ())
    except SettingsError as error:
        raise ValueError(error.problems[0].message) from error
    for problem in part.found():
        raise ValueError(": ".join(text for text in (problem.key, problem.message) if text))
    return value


def _composed(text: str, label: str) -> yaml.Node | None:
    shielded = re.sub(r"\$\{([^{}\n]*)\}", _SHIELDED, text)
    try:
        node: yaml.Node | None = yaml.compose(shielded, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = label if mark is None else f"{label}:{mark.line + 1}"
        column = "" if mark is None else f" (column {mark.column + 1})"
        message = f"not valid YAML: {_harmless(error.problem or 'cannot be parsed')}{column}"
        raise SettingsError([Problem(where, "", message)]) from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        position = getattr(error, "position", 0)
        where = f"{label}:{shielded.count(chr(10), 0, position) + 1}"
        raise SettingsError([Problem(where, "", "not valid YAML: a control character")]) from error
    except RecursionError as error:
        raise SettingsError([Problem(label, "", "nested too deeply")]) from error
    return node


def _harmless(problem: str) -> str:
    """PyYAML quotes names that it does not know, and what it takes for a name may be a key that begins with * or !."""
    return re.sub(r" '[^<'][^']+'$", "", problem)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and bool(node.tag == f"{_TAG}null")


class _Reader:
    """One walk over the nodes of a document. ``environ`` None leaves ``${NAME}`` as it is."""

    def __init__(self, draft: Draft, environ: Mapping[str, str] | None) -> None:
        self._draft = draft
        self._environ = environ
        self._left = MAX_VALUES
        self._entries: dict[int, Entries] = {}
        self._scalars: dict[int, Any] = {}

    def value(self, node: yaml.Node, at: Location) -> Any:
        """Raises ``SettingsError`` if it is too deep or too much."""
        self._spend(at)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, at)
        if node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            self._draft.unreadable(at, "YAML tags are not supported")
            return None
        if isinstance(node, yaml.MappingNode):
            entries = self._entries_of(node, at)
            return {name: self._placed(key, child, (*at, name)) for name, (key, child) in entries.items()}
        return [self._placed(child, child, (*at, number)) for number, child in enumerate(node.value)]

    def _spend(self, at: Location) -> None:
        self._left -= 1
        if self._left < 0:
            raise SettingsError([Problem(self._draft.where(at), written(at[:3]), "aliases make it too large")])
        if len(at) > MAX_DEPTH:
            message = "nested too deeply, or an alias that contains itself"
            raise SettingsError([Problem(self._draft.where(at), written(at[:3]), message)])

    def _placed(self, marked: yaml.Node, node: yaml.Node, at: Location) -> Any:
        self._draft.places[at] = self._line(marked)
        return self.value(node, at)

    def _line(self, node: yaml.Node) -> str:
        return f"{self._draft.label}:{node.start_mark.line + 1}"

    def _entries_of(self, node: yaml.MappingNode, at: Location) -> Entries:
        """Keys with their nodes: merged ones first, so that a mapping's own come over them."""
        known = self._entries.get(id(node))
        if known is not None:
            return known
        merged = self._entries[id(node)] = {}
        own: Entries = {}
        for key, child in node.value:
            name = self._key(key)
            if name is None:
                self._complain(key, at, "a key must be plain text")
            elif key.tag == f"{_TAG}merge":
                self._merge(merged, child, at)
            elif name in own:
                first = own[name][0].start_mark.line + 1
                self._complain(key, (*at, name), f"this key was given before, on line {first}")
            else:
                own[name] = (key, child)
        merged.update(own)
        return merged

    def _merge(self, into: Entries, child: yaml.Node, at: Location) -> None:
        for source in child.value if isinstance(child, yaml.SequenceNode) else [child]:
            if not isinstance(source, yaml.MappingNode):
                self._complain(source, at, "`<<` merges mappings only")
                continue
            for name, entry in self._entries_of(source, at).items():
                self._spend(at)
                into.setdefault(name, entry)

    def _complain(self, node: yaml.Node, at: Location, message: str) -> None:
        self._draft.problems.append(Problem(self._line(node), written(at), message))

    @staticmethod
    def _key(node: yaml.Node) -> str | None:
        return str(node.value).translate(_BRACES) if isinstance(node, yaml.ScalarNode) else None

    def _scalar(self, node: yaml.ScalarNode, at: Location) -> Any:
        if self._environ is not None and "$" in node.value and _takes_all(node.value.translate(_BRACES)):
            self._draft.references.add(at)
        # Read once, however many aliases point here: an expanded text is not copied for each of them.
        if id(node) not in self._scalars:
            try:
                self._scalars[id(node)] = self._parsed(node)
            except ValueError as error:
                self._scalars[id(node)] = error
        value = self._scalars[id(node)]
        if isinstance(value, ValueError):
            self._draft.unreadable(at, str(value))
            return None
        return value

    def _parsed(self, node: yaml.ScalarNode) -> Any:
        """Raises ``ValueError`` that says why it cannot be read."""
        plain = node.style is None
        resolved = _RESOLVER.resolve(yaml.ScalarNode, node.value, (plain, not plain))  # type: ignore[no-untyped-call]
        tag = node.tag.removeprefix(_TAG)
        if tag != "str" and node.tag != resolved:
            raise ValueError("YAML tags are not supported")
        match tag:
            case "null":
                return None
            case "bool":
                return _CONSTRUCTOR.construct_yaml_bool(node)
            case "int" | "float":
                try:
                    construct = _CONSTRUCTOR.construct_yaml_int if tag == "int" else _CONSTRUCTOR.construct_yaml_float
                    return construct(node)
                except ValueError:  # "0x_", or more digits than Python reads
                    return node.value
            case _:  # text, and what YAML 1.1 would make a date of
                text = node.value.translate(_BRACES)
                return text if self._environ is None else expanded(text, self._environ)


def _takes_all(text: str) -> bool:
    """Whether a variable is named with nothing written here to stand in for it."""
    return any(match["name"] and not match["default"] for match in _REFERENCE.finditer(text))


def expanded(text: str, environ: Mapping[str, str]) -> str:
    """``${NAME}`` and ``${NAME:-default}`` filled in; ``$$`` is ``$``. As in a shell, the default also stands in for
    an empty variable. Raises ``ValueError`` that names the variable.
    """

    def fill(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, default = match["name"], match["default"]
        if name is None or not _NAME.fullmatch(name):
            raise ValueError(
                "`${` must go on as ${NAME} or ${NAME:-default}; write `$${` for the characters themselves"
            )
        value = environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            raise ValueError(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
        return value

    return _REFERENCE.sub(fill, text)
