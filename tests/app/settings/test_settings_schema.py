"""The published schema: it is the model's own, and what loads validates, with references in it too."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from app.settings import examine
from app.settings.descriptions import DESCRIPTIONS, KINDS
from app.settings.document import read_value
from app.settings.draft import Draft
from app.settings.model import Settings
from app.settings.schema import schema
from app.settings.validation import LATER
from providers import Kind
from providers.law import SHAPES, Law
from providers.registry import BUILT_IN

ROOT = Path(__file__).parents[3]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
BLOCKS = [
    (page.name, block)
    for page in PAGES
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), flags=re.DOTALL)
]
SCHEMA = schema(BUILT_IN)
VALIDATOR = Draft7Validator(SCHEMA)


def raw(text: str) -> Any:
    """The data of a file as an editor sees it: references are text."""
    return read_value(text, Draft("file"))


def faults(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(raw(text))]


def test_the_published_file_is_up_to_date() -> None:
    published = (ROOT / "docs" / "config.schema.json").read_text()
    made = json.dumps(SCHEMA, indent=2, ensure_ascii=False) + "\n"
    assert published == made, "run: breakwater check --schema > docs/config.schema.json"


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)


def sections(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from sections(inner)


def test_every_reference_leads_somewhere() -> None:
    for node in sections(SCHEMA):
        if "$ref" in node:
            assert node["$ref"].removeprefix("#/definitions/") in SCHEMA["definitions"]


def test_every_setting_is_described_and_nothing_else_is() -> None:
    described = {(name, key) for name, rows in DESCRIPTIONS.items() for key in rows}
    parts = {"Settings": SCHEMA, **SCHEMA["definitions"]}
    seen = set()
    for name, part in parts.items():
        if not name.endswith("-provider"):
            section = name.replace("Overrides", "Settings")
            seen |= {(section, key) for key in part["properties"]}
            assert all(inner["description"] for inner in part["properties"].values())
    assert seen == described


def test_every_option_is_described_and_nothing_else_is() -> None:
    seen = set()
    for kind in BUILT_IN:
        properties = SCHEMA["definitions"][f"{kind}-provider"]["properties"]
        for option in properties.keys() - {"name", "kind"}:
            assert properties[option]["description"]
            seen.add((kind if option in KINDS.get(kind, {}) else "http", option))
    assert seen == {(kind, option) for kind, rows in KINDS.items() for option in rows}


def test_nothing_of_a_later_version_is_in_it() -> None:
    parts = {
        "": SCHEMA,
        "telemetry": SCHEMA["definitions"]["TelemetrySettings"],
        "routes[]": SCHEMA["definitions"]["RouteSettings"],
    }
    for place in LATER:
        section, _, key = place.rpartition(".")
        if section in parts:
            assert key not in parts[section]["properties"], place
    assert set(SCHEMA["properties"]) == set(Settings.model_fields)


def test_defaults_and_bounds_and_units() -> None:
    parts = SCHEMA["definitions"]
    port = parts["ServerSettings"]["properties"]["port"]
    assert (port["default"], port["minimum"], port["maximum"]) == (8000, 0, 65535)
    assert parts["TimeoutSettings"]["properties"]["idle"]["exclusiveMinimum"] == 0
    assert parts["mock-provider"]["properties"]["ttft"]["default"] == {"lognormal": [0.2, 0.5]}
    assert parts["mock-provider"]["properties"]["tokens"]["default"] == {"uniform": [12, 40]}
    assert parts["llamacpp-provider"]["properties"]["base_url"]["default"] == "http://127.0.0.1:8081/v1"
    assert "base_url" in parts["openai-compatible-provider"]["required"]
    for name in ("connect", "first_token", "idle", "attempt", "total"):
        assert parts["TimeoutSettings"]["properties"][name]["description"].startswith("Seconds ")
    assert parts["BreakerOverrides"]["properties"]["window"] == {
        "description": "Seconds that the rates look back, up to 3600.",
        "exclusiveMinimum": 0,
        "maximum": 3600,
        "type": ["number", "string", "null"],
        "pattern": parts["BreakerSettings"]["properties"]["window"]["pattern"],
    }
    assert "default" not in parts["BreakerOverrides"]["properties"]["enabled"]
    (law,) = [one for one in parts["mock-provider"]["properties"]["tokens"]["anyOf"] if one["type"] == "object"]
    assert set(law["properties"]) == set(SHAPES)


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[page for page, _ in BLOCKS])
def test_every_configuration_of_the_docs_validates(page: str, block: str) -> None:
    assert faults(block) == []


def test_the_built_in_configuration_validates() -> None:
    assert faults((ROOT / "app" / "settings" / "builtin.yaml").read_text()) == []


MINIMAL = "providers: [{name: e, kind: echo}]\nroutes: [{model: m, targets: [{provider: e}]}]\n"
TWO = """providers: [{name: e, kind: echo}, {name: f, kind: echo}]
routes: [{model: m, EXTRA, targets: [{provider: e, price: {input: '${N}', output: 2}}, {provider: f, concurrency: null}]}]
"""
ENVIRON = {
    "TOKEN": "hush-hush",
    "N": "1",
    "KEY": "sk-1",
    "URL": "http://h/v1",
    "KIND": "echo",
    "ON": "true",
    "LEVEL": "debug",
    "NAME": "e",
}


def with_provider(options: str) -> str:
    return f"providers: [{{name: e, {options}}}]\nroutes: [{{model: m, targets: [{{provider: e}}]}}]\n"


@pytest.mark.parametrize(
    "text",
    [
        MINIMAL,
        f"{MINIMAL}server:\ndefaults:\ntelemetry: {{}}\npassthrough: null",
        f"{MINIMAL}server: {{port: ${{N}}, max_body_mb: '${{N}}', drain_seconds: '${{N:-30}}', metrics_port: null}}",
        f"{MINIMAL}server: {{port: '80', max_body_mb: '.5', drain_seconds: 1e1, trusted_proxies: ['::1', 10.0.0.0/8]}}",
        f"{MINIMAL}seed: '-7'",
        f"{MINIMAL}telemetry: {{log_level: debug, access_log: 'no'}}",
        f"{MINIMAL}telemetry: {{log_level: ${{LEVEL}}, access_log: ${{ON}}}}",
        f"{MINIMAL}defaults: {{timeouts: {{connect: ${{N}}}}, retry: {{max_attempts: ${{N}}, backoff: {{cap: '3'}}}}}}",
        f"{MINIMAL}defaults: {{retry: {{backoff: }}}}",
        f"{MINIMAL}defaults: {{breaker: , concurrency: {{algorithm: gradient, initial: null, max: ${{N}}}}, throttle: {{enabled: ${{ON}}}}}}",
        f"{MINIMAL}defaults: {{probing: {{timeout: '1', idle: null}}, retry: {{budget: {{ratio: '${{N}}'}}, throttle: {{enabled: yes}}}}}}",
        f"{MINIMAL}shedding: {{max_tokens_in_flight: '1e6', queue: {{length: ${{N}}}}}}\nadmin: {{token: '${{TOKEN}}'}}",
        f"{MINIMAL}admin: {{token: null}}\nserver: {{admin_port: null}}\ntelemetry: {{decisions: ${{N}}}}",
        *(
            TWO.replace("EXTRA", extra)
            for extra in (
                "strategy: cost, hedge: {after: p99.9, max_share: '0.1'}, mirror: {provider: f, share: ${N}, model: null}",
                "strategy: cost, hedge: {after: ${N}}, mirror: null, breaker: {window: ${N}, max_ejected: null}",
                "strategy: cost, hedge: null, experiments: [{name: x, arms: [{name: a, providers: [e], share: ${N}}, {name: b, providers: [f], share: 0}]}]",
            )
        ),
        with_provider("kind: ${KIND}").replace("name: e", "name: ${NAME}"),
        with_provider("kind: openai, api_key: ${KEY}, headers: {a: 'x${KEY}'}, network: null"),
        with_provider("kind: openai-compatible, base_url: '${URL}', api_key: null, network: private"),
        with_provider("kind: vllm, base_url: 'http://${NAME}:8000/v1'"),
        with_provider("kind: mock, ttft: ${N}, tokens: {uniform: [1, '${N}']}, token_interval: {exponential: 1}, capacity: null"),
        with_provider("kind: mock, ttft: {normal: ['1', 2]}, error_rate: '0.5', error_status: 503, capacity: '3'"),
        (
            "providers: [{name: e, kind: openai}]\nroutes: [{model: '*', strategy: weighted, timeouts: {idle: ${N}}, "
            "retry: {max_attempts: null, backoff: null}, targets: [{provider: ${NAME}, model: null, weight: ${N}, tier: '1', "
            "timeouts: {total: null}}]}]\npassthrough: {provider: e, paths: [/v1/files/*, /v1/x]}"
        ),
    ],
)  # fmt: skip
def test_what_loads_validates(tmp_path: Path, text: str) -> None:
    (tmp_path / "breakwater.yaml").write_text(text)
    assert examine(None, ENVIRON, tmp_path).errors == ()
    assert faults(text) == []


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("seed: 1", "'providers' is a required property"),
        (f"{MINIMAL}sever: {{}}", "'sever' was unexpected"),
        (f"{MINIMAL}server: {{prot: 1}}", "'prot' was unexpected"),
        (f"{MINIMAL}server: {{port: 99999}}", "99999 is greater than the maximum of 65535"),
        (f"{MINIMAL}server: {{port: 1.5}}", "1.5 is not of type 'integer', 'string'"),
        (f"{MINIMAL}server: {{port: true}}", "True is not of type 'integer', 'string'"),
        (f"{MINIMAL}server: {{port: http}}", "'http' does not match"),
        (f"{MINIMAL}server: {{port: '${{}}'}}", "'${}' does not match"),
        (f"{MINIMAL}server: {{max_body_mb: 0}}", "0 is less than or equal to the minimum of 0"),
        (f"{MINIMAL}server: 5", "5 is not of type 'object', 'null'"),
        (f"{MINIMAL}defaults: {{retry: {{max_attempts: 11}}}}", "11 is greater than the maximum of 10"),
        (f"{MINIMAL}telemetry: {{log_level: LOUD}}", "'LOUD' is not valid under any of the given schemas"),
        (f"{MINIMAL}telemetry: {{access_log: maybe}}", "'maybe' does not match"),
        (f"{MINIMAL}passthrough: {{provider: e}}", "is not valid under any of the given schemas"),
        (f"{MINIMAL}passthrough: {{provider: e, paths: [/files]}}", "is not valid under any of the given schemas"),
        (f"{MINIMAL}cache: {{}}", "'cache' was unexpected"),
        (f"{MINIMAL}defaults: {{breaker: {{window: 0}}}}", "0 is less than or equal to the minimum of 0"),
        (f"{MINIMAL}defaults: {{breaker: {{failure_rate: 50}}}}", "50 is greater than the maximum of 1"),
        (f"{MINIMAL}defaults: {{breaker: {{half_open: 0}}}}", "0 is less than the minimum of 1"),
        (f"{MINIMAL}defaults: {{concurrency: {{algorithm: vegas}}}}", "'vegas' is not valid under any of the given schemas"),
        (f"{MINIMAL}defaults: {{throttle: {{max_rejection: 1}}}}", "1 is greater than or equal to the maximum of 1"),
        (f"{MINIMAL}defaults: {{retry: {{budget: {{ttl: 61}}}}}}", "61 is greater than the maximum of 60"),
        (f"{MINIMAL}shedding: {{queue: {{length: -1}}}}", "-1 is less than the minimum of 0"),
        (f"{MINIMAL}admin: {{token: 12345678}}", "12345678 is not of type 'string', 'null'"),
        (TWO.replace("EXTRA", "hedge: {after: p42}"), "is not valid under any of the given schemas"),
        (TWO.replace("EXTRA", "mirror: {provider: f}"), "is not valid under any of the given schemas"),
        (TWO.replace("EXTRA", "experiments: [{name: x, arms: []}]"), "[] is too short"),
        (MINIMAL.replace("provider: e", "provider: e, price: {input: 1}"), "is not valid under any of the given schemas"),
        ("providers: []\nroutes: []", "[] should be non-empty"),
        (with_provider("kind: mok"), "'mok' is not valid under any of the given schemas"),
        (with_provider("kind: echo, seed: 1"), "'seed' was unexpected"),
        (with_provider("kind: openai-compatible"), "'base_url' is a required property"),
        (with_provider("kind: vllm, base_url: h/v1"), "'h/v1' does not match"),
        (with_provider("kind: vllm, api_key: 5"), "5 is not of type 'string', 'null'"),
        (with_provider("kind: vllm, headers: {a: 1}"), "1 is not of type 'string'"),
        (with_provider("kind: vllm, network: intranet"), "'intranet' is not valid under any of the given schemas"),
        (with_provider("kind: mock, ttft: {lognormal: 1}"), "is not valid under any of the given schemas"),
        (with_provider("kind: mock, ttft: {zipf: [1, 2]}"), "is not valid under any of the given schemas"),
        (with_provider("kind: echo").replace("name: e", "name: a/b"), "'a/b' does not match"),
        (MINIMAL.replace("targets: [{provider: e}]", "targets: []"), "[] should be non-empty"),
        (MINIMAL.replace("provider: e", "weight: 1"), "'provider' is a required property"),
        (MINIMAL.replace("provider: e", "provider: e, tier: -1"), "-1 is less than the minimum of 0"),
        (MINIMAL.replace("model: m", "model: m, strategy: fastest"), "'fastest' is not valid under any of the given schemas"),
    ],
)  # fmt: skip
def test_what_is_broken_does_not(tmp_path: Path, text: str, about: str) -> None:
    assert any(about in message for message in faults(text)), faults(text)
    (tmp_path / "breakwater.yaml").write_text(text)
    assert examine(None, {}, tmp_path).errors


class Plumage:
    """No type that JSON knows."""


@dataclass(frozen=True)
class Nest:
    height: float = 1.0


@dataclass(frozen=True)
class ParrotOptions:
    phrase: str
    plumage: Plumage
    pause: Law | None = field(default_factory=lambda: Law("exponential", 2))
    nest: Nest = field(default_factory=Nest)
    tags: list[int] = field(default_factory=list)


def test_a_kind_of_a_package_is_in_the_schema_too() -> None:
    build: Callable[[str, Any], Any] = dict
    made = schema({"parrot": Kind(ParrotOptions, build)})
    parrot = made["definitions"]["parrot-provider"]
    assert parrot["required"] == ["name", "kind", "phrase", "plumage"]
    assert parrot["properties"]["plumage"] == {}
    assert parrot["properties"]["pause"]["default"] == {"exponential": 2}
    assert "default" not in parrot["properties"]["nest"]
    validator = Draft7Validator(made)
    options = {"name": "p", "kind": "parrot", "phrase": "hi", "plumage": [1], "pause": None}
    rest = {"routes": [{"model": "m", "targets": [{"provider": "p"}]}]}
    assert validator.is_valid({"providers": [{**options, "nest": {"height": "${N}"}, "tags": ["3"]}], **rest})
    assert not validator.is_valid({"providers": [{**options, "nest": {"height": []}}], **rest})
    assert not validator.is_valid({"providers": [{**options, "tags": ["x"]}], **rest})
