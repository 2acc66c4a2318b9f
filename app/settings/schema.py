"""The JSON Schema of a configuration file, made of the model and of the kinds' options.

It says what editors can know: names, types, bounds, defaults. How parts fit together only ``check`` knows.
Draft 07, which the editors' YAML servers read best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, get_type_hints

from pydantic import PydanticUserError

from app.settings.descriptions import DESCRIPTIONS, KINDS
from app.settings.model import Settings
from app.settings.options import adapter, is_required
from providers import Kind
from providers.law import Law

Json = dict[str, Any]

_REFERENCE = r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^{}]*)?\}"
# Text that holds a number is a number, and a reference may hold one.
_NUMBER = rf"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$|{_REFERENCE}"
_TRUTH = rf"^(true|false|yes|no|on|off)$|{_REFERENCE}"
_PATTERNS = {"integer": _NUMBER, "number": _NUMBER, "boolean": _TRUTH}
# Pydantic's words for bounds behind a validator of our own, and JSON Schema's.
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_DEFINITIONS = "#/definitions/"


def schema(kinds: Mapping[str, Kind]) -> Json:
    whole = Settings.model_json_schema(ref_template=f"{_DEFINITIONS}{{model}}")
    sections: dict[str, Json] = {**whole.pop("$defs"), "Settings": whole}
    definitions: dict[str, Json] = {name: _section(name, section) for name, section in sorted(sections.items())}
    name_schema = definitions["ProviderSettings"]["properties"]["name"]
    for kind, made in sorted(kinds.items()):
        definitions[f"{kind}-provider"] = _provider(kind, made, name_schema, definitions)
    definitions["ProviderSettings"] = _any_provider(kinds, name_schema)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Breakwater configuration",
        **definitions.pop("Settings"),
        "definitions": definitions,
    }


def _section(name: str, section: Json) -> Json:
    described = DESCRIPTIONS.get(name.replace("Overrides", "Settings"), {})
    properties = {
        key: _property(inner, described.get(key)) for key, inner in section["properties"].items() if key != "options"
    }
    required = [key for key in section.get("required", ()) if key != "options"]
    return _object(properties, required)


def _object(properties: Json, required: list[str]) -> Json:
    """An empty section has all defaults, so it may be null if it has nothing that must be given."""
    kind: Json = {"type": "object"} if required else {"type": ["object", "null"]}
    need = {"required": required} if required else {}
    return {**kind, "properties": properties, **need, "additionalProperties": False}


def _property(given: Json, description: str | None) -> Json:
    default = given.get("default")
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    known = {} if default is None or "$ref" in given else {"default": default}
    return {**({"description": description} if description else {}), **_eased(given), **known}


def _provider(kind: str, made: Kind, name_schema: Json, definitions: dict[str, Json]) -> Json:
    options = [field for field in fields(made.options) if field.init]
    hints = get_type_hints(made.options, include_extras=True)
    words = {**KINDS["http"], **KINDS.get(kind, {})}
    properties = {"name": name_schema, "kind": {"const": kind}}
    for option in options:
        described = _described(hints[option.name], option, definitions)
        properties[option.name] = _property(described, words.get(option.name))
    return _object(properties, ["name", "kind", *(option.name for option in options if is_required(option))])


def _described(hint: Any, option: Field[Any], definitions: dict[str, Json]) -> Json:
    try:
        described = adapter(hint, option.name).json_schema(ref_template=f"{_DEFINITIONS}{{model}}")
    except PydanticUserError:  # a package's own type: anything goes here, its kind will check it
        return {}
    definitions.update({name: _eased(inner) for name, inner in described.pop("$defs", {}).items()})
    default = option.default_factory() if option.default_factory is not MISSING else option.default
    return {**described, "default": None if default is MISSING else _as_written(default)}


def _as_written(default: Any) -> Any:
    """A default as it would stand in a file; None if it has no plain form."""
    if not isinstance(default, Law):
        return default if isinstance(default, str | int | float) else None
    match default.shape:
        case "constant":
            return default.a
        case "exponential":
            return {default.shape: default.a}
        case _:
            return {default.shape: [default.a, default.b]}


def _any_provider(kinds: Mapping[str, Kind], name_schema: Json) -> Json:
    known = {"anyOf": [{"enum": sorted(kinds)}, {"type": "string", "pattern": _REFERENCE}]}
    described = {"description": DESCRIPTIONS["ProviderSettings"]["kind"], **known}
    variants = [
        {
            "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
            "then": {"$ref": f"{_DEFINITIONS}{kind}-provider"},
        }
        for kind in sorted(kinds)
    ]
    properties = {"name": name_schema, "kind": described}
    return {"type": "object", "properties": properties, "required": ["name", "kind"], "allOf": variants}


def _eased(node: Any) -> Any:
    """JSON Schema proper, in which ``${NAME}`` may stand for any plain value."""
    if isinstance(node, list):
        return [_eased(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    if "anyOf" in node and {"type": "null"} in node["anyOf"] and len(node["anyOf"]) == 2:
        return _or_null(_eased(next(inner for inner in node["anyOf"] if inner != {"type": "null"})))
    if "const" in node or "enum" in node:
        values = node.get("enum") or [node["const"]]
        lower = [value.lower() for value in values if isinstance(value, str) and value.isupper()]
        return {"anyOf": [{"enum": [*values, *lower]}, {"type": "string", "pattern": _REFERENCE}]}
    eased = {
        _BOUNDS.get(key, key): _eased(inner)
        for key, inner in node.items()
        if key not in ("title", "default", "properties")
    }
    if "properties" in node:
        eased["properties"] = {name: _eased(inner) for name, inner in node["properties"].items()}
    if node.get("type") in _PATTERNS:
        eased |= {"type": [node["type"], "string"], "pattern": _PATTERNS[node["type"]]}
    elif "pattern" in node:
        whole = str(node["pattern"]).replace(r"\A", "^").replace(r"\z", "$")
        eased["pattern"] = f"{whole}|{_REFERENCE}"
    return eased


def _or_null(node: Json) -> Json:
    if "type" in node:
        types = node["type"] if isinstance(node["type"], list) else [node["type"]]
        return {**node, "type": [*types, "null"]}
    return {"anyOf": [*node.get("anyOf", [node]), {"type": "null"}]}
