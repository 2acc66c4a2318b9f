"""The sections of resilience: defaults that are the core's, bounds, and overrides that have the same fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from app.settings import resilience
from app.settings.section import Section
from router import config

Complain = Callable[..., list[str]]
MINIMAL = "providers: [{name: e, kind: echo}]\nroutes:\n- model: m\n  targets:\n  - provider: e\n"


@pytest.mark.parametrize(
    ("path", "core"),
    [
        ("defaults.timeouts", config.Timeouts()),
        ("defaults.retry", config.Retry()),
        ("defaults.breaker", config.Breaker()),
        ("defaults.concurrency", config.Concurrency(algorithm="auto")),
        ("defaults.throttle", config.Throttle()),
        ("defaults.probing", config.Probing()),
        ("shedding", config.Shedding()),
    ],
)
def test_the_defaults_are_the_cores(loaded: Callable[..., Any], path: str, core: Any) -> None:
    section = loaded(MINIMAL).settings
    for part in path.split("."):
        section = getattr(section, part)
    assert section.model_dump() == asdict(core)


SECTIONS = {
    name: made for name, made in vars(resilience).items() if isinstance(made, type) and issubclass(made, Section)
}


@pytest.mark.parametrize("name", [name for name in SECTIONS if name.endswith("Overrides")])
def test_overrides_have_the_same_fields_and_bounds(name: str) -> None:
    overrides, settings = SECTIONS[name], SECTIONS[name.replace("Overrides", "Settings")]
    assert list(overrides.model_fields) == list(settings.model_fields)
    assert all(field.default is None for field in overrides.model_fields.values())
    inner = {
        field: made["anyOf"][0].get("$ref", made["anyOf"][0])
        for field, made in overrides.model_json_schema()["properties"].items()
    }
    for field, made in settings.model_json_schema()["properties"].items():
        bounds = made["anyOf"][0] if "anyOf" in made else made
        given = {key: value for key, value in bounds.items() if key not in ("default", "title")}
        wanted = given["$ref"].replace("Settings", "Overrides") if "$ref" in given else given
        assert inner[field] == wanted, field


def test_every_value(loaded: Callable[..., Any]) -> None:
    sections = """\
 timeouts: {connect: 1, first_token: 2, idle: 3, attempt: 4, total: 5},
 retry: {max_attempts: 1, backoff: {base: 0, throttle_base: 2, cap: 1e3},
  budget: {enabled: false, ratio: 1, min_per_second: 10000, ttl: 60, burst: 0}, concurrency: {enabled: no, share: 0, min: 0},
  throttle: {enabled: yes, max_tokens: 1000, token_ratio: 0.5}, dont_retry: {enabled: no}},
 breaker: {enabled: no, window: 3600, min_calls: 1, failure_rate: 1, consecutive: 1000000, slow_rate: 0.0001,
  slow_first_token: 1.5, open_base: 0.5, open_max: 86400, half_open: 1, max_ejected: 1.0},
 concurrency: {enabled: no, algorithm: gradient, initial: 2.5, min: 2, max: 3},
 throttle: {enabled: no, window: 0.5, threshold: 1, max_rejection: 0.99, min_per_second: 0},
 probing: {enabled: no, timeout: "0.1", idle: 60}"""
    given = {
        "timeouts": {"connect": 1, "first_token": 2, "idle": 3, "attempt": 4, "total": 5},
        "retry": {
            "max_attempts": 1,
            "backoff": {"base": 0, "throttle_base": 2, "cap": 1000},
            "budget": {"enabled": False, "ratio": 1, "min_per_second": 10000, "ttl": 60, "burst": 0},
            "concurrency": {"enabled": False, "share": 0, "min": 0},
            "throttle": {"enabled": True, "max_tokens": 1000, "token_ratio": 0.5},
            "dont_retry": {"enabled": False},
        },
        "breaker": {
            "enabled": False,
            "window": 3600,
            "min_calls": 1,
            "failure_rate": 1,
            "consecutive": 1000000,
            "slow_rate": 0.0001,
            "slow_first_token": 1.5,
            "open_base": 0.5,
            "open_max": 86400,
            "half_open": 1,
            "max_ejected": 1,
        },
        "concurrency": {"enabled": False, "algorithm": "gradient", "initial": 2.5, "min": 2, "max": 3},
        "throttle": {"enabled": False, "window": 0.5, "threshold": 1, "max_rejection": 0.99, "min_per_second": 0},
        "probing": {"enabled": False, "timeout": 0.1, "idle": 60},
    }
    queue = "shedding: {enabled: no, max_tokens_in_flight: 1, queue: {length: 100000, timeout: 4}}"
    in_defaults = loaded(f"{MINIMAL}defaults: {{\n{sections}}}\n{queue}").settings
    assert in_defaults.defaults.model_dump() == given
    assert in_defaults.shedding.model_dump() == {
        "enabled": False,
        "max_tokens_in_flight": 1,
        "queue": {"length": 100000, "timeout": 4},
    }
    targets = "model: m, targets: [{provider: e}]"
    in_route = f"providers: [{{name: e, kind: echo}}]\nroutes: [{{{targets},\n{sections}}}]"
    assert {name: getattr(loaded(in_route).settings.routes[0], name).model_dump() for name in given} == given


NUMBER = "must be a number, not true or false (YAML reads yes, no, on and off as these)"
LEAST = "must be at least 0.0001"


def least(bound: str) -> str:
    return f"must be greater than or equal to {bound}"


def most(bound: str) -> str:
    return f"must be less than or equal to {bound}"


ABOVE_0 = "must be greater than 0"
MAPPING = "must be a mapping of keys to values"
WRONG = [
    ("retry.max_attempts", "0", least("1")),
    ("retry.max_attempts", "11", most("10")),
    ("retry.max_attempts", "yes", NUMBER),
    ("retry.attempts", "1", 'unknown key; did you mean "max_attempts"?'),
    ("retry.backoff", "5", MAPPING),
    ("retry.backoff.bas", "1", 'unknown key; did you mean "base"?'),
    ("retry.backoff.base", "-1", least("0")),
    ("retry.backoff.throttle_base", "-1", least("0")),
    ("retry.backoff.cap", "x", "must be a number"),
    ("retry.budget", "0.1", MAPPING),
    ("retry.budget.percent", "20", "unknown key; known here: burst, enabled, min_per_second, ratio, ttl"),
    ("retry.budget.ratio", "-0.1", least("0")),
    ("retry.budget.ratio", "1.1", most("1")),
    ("retry.budget.ratio", "1e-320", LEAST),
    ("retry.budget.min_per_second", "-1", least("0")),
    ("retry.budget.min_per_second", "10001", most("10000")),
    ("retry.budget.ttl", "0.9", least("1")),
    ("retry.budget.ttl", "61", most("60")),
    ("retry.budget.burst", "-1", least("0")),
    ("retry.budget.burst", "10001", most("10000")),
    ("retry.budget.burst", "0.5", "must be a whole number"),
    ("retry.budget.enabled", "maybe", "must be true or false"),
    ("retry.concurrency.share", "1.01", most("1")),
    ("retry.concurrency.share", "-1", least("0")),
    ("retry.concurrency.min", "-1", least("0")),
    ("retry.concurrency.min", "2.5", "must be a whole number"),
    ("retry.concurrency.max", "1", "unknown key; known here: enabled, min, share"),
    ("retry.throttle.max_tokens", "0", ABOVE_0),
    ("retry.throttle.max_tokens", "1001", most("1000")),
    ("retry.throttle.token_ratio", "0", ABOVE_0),
    ("retry.throttle.token_ratio", "2", most("1")),
    ("retry.throttle.enabled", "5", "must be true or false"),
    ("breaker", "on", MAPPING),
    ("breaker.enabled", "2", "must be true or false"),
    ("breaker.window", "0", ABOVE_0),
    ("breaker.window", "-1", ABOVE_0),
    ("breaker.window", "3601", most("3600")),
    ("breaker.window", ".inf", "must be a finite number"),
    ("breaker.min_calls", "0", least("1")),
    ("breaker.min_calls", "1000001", most("1000000")),
    ("breaker.min_calls", "9.5", "must be a whole number"),
    ("breaker.min_calls", "9" * 30, most("1000000")),
    ("breaker.failure_rate", "0", ABOVE_0),
    ("breaker.failure_rate", "1.01", most("1")),
    ("breaker.failure_rate", "50", most("1")),
    ("breaker.failure_rate", "1e-9", LEAST),
    ("breaker.failure_rate", ".nan", "must be a finite number"),
    ("breaker.consecutive", "0", least("1")),
    ("breaker.consecutive", "yes", NUMBER),
    ("breaker.slow_rate", "0", ABOVE_0),
    ("breaker.slow_rate", "1.5", most("1")),
    ("breaker.slow_first_token", "0", ABOVE_0),
    ("breaker.slow_first_token", "86401", most("86400")),
    ("breaker.open_base", "0", ABOVE_0),
    ("breaker.open_max", "-5", ABOVE_0),
    ("breaker.open_max", "86401", most("86400")),
    ("breaker.half_open", "0", least("1")),
    ("breaker.half_open", "-1", least("1")),
    ("breaker.max_ejected", "-0.1", least("0")),
    ("breaker.max_ejected", "1.1", most("1")),
    ("breaker.half_opn", "1", 'unknown key; did you mean "half_open"?'),
    ("concurrency.algorithm", "vegas", "must be 'auto', 'aimd' or 'gradient'"),
    ("concurrency.initial", "0", least("1")),
    ("concurrency.initial", "1000001", most("1000000")),
    ("concurrency.min", "0.5", least("1")),
    ("concurrency.min", "0", least("1")),
    ("concurrency.max", "0", least("1")),
    ("concurrency.max", "1000001", most("1000000")),
    ("concurrency.limit", "5", "unknown key; known here: algorithm, enabled, initial, max, min"),
    ("throttle.window", "0", ABOVE_0),
    ("throttle.threshold", "0", ABOVE_0),
    ("throttle.threshold", "1.1", most("1")),
    ("throttle.max_rejection", "0", ABOVE_0),
    ("throttle.max_rejection", "1", "must be less than 1"),
    ("throttle.min_per_second", "-1", least("0")),
    ("throttle.aggression", "1", "unknown key; known here: enabled, max_rejection, min_per_second, threshold, window"),
    ("probing.timeout", "0", ABOVE_0),
    ("probing.timeout", "never", "must be a number"),
    ("probing.idle", "0", ABOVE_0),
    ("probing.interval", "5", "unknown key; known here: enabled, idle, timeout"),
]


def nested(path: str, value: str) -> str:
    for part in reversed(path.split(".")):
        value = f"{{{part}: {value}}}"
    return value[1:-1]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_a_wrong_value_is_refused_in_the_defaults_in_a_route_and_in_a_target(
    complaints: Complain, path: str, value: str, message: str
) -> None:
    entry = nested(path, value)
    assert complaints(f"{MINIMAL}defaults: {{{entry}}}") == [f"breakwater.yaml:6: defaults.{path}: {message}"]
    assert complaints(f"{MINIMAL}  {entry}") == [f"breakwater.yaml:6: routes[0].{path}: {message}"]
    if not path.startswith("retry"):
        assert complaints(f"{MINIMAL}    {entry}") == [f"breakwater.yaml:6: routes[0].targets[0].{path}: {message}"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("max_tokens_in_flight", "0", least("1")),
        ("max_tokens_in_flight", ".inf", "must be a finite number"),
        ("max_tokens_in_flight", "lots", "must be a number"),
        ("enabled", "maybe", "must be true or false"),
        ("queue", "5", MAPPING),
        ("queue.length", "-1", least("0")),
        ("queue.length", "100001", most("100000")),
        ("queue.length", "1.5", "must be a whole number"),
        ("queue.timeout", "0", ABOVE_0),
        ("queue.timeout", "86401", most("86400")),
        ("queue.size", "1", "unknown key; known here: length, timeout"),
        ("max_tokens", "1", 'unknown key; did you mean "max_tokens_in_flight"?'),
    ],
)
def test_wrong_shedding(complaints: Complain, path: str, value: str, message: str) -> None:
    told = complaints(f"{MINIMAL}shedding: {{{nested(path, value)}}}")
    assert told == [f"breakwater.yaml:6: shedding.{path}: {message}"]


@pytest.mark.parametrize("level", ["  breaker: ", "    breaker: "])
def test_an_override_of_null_says_nothing(loaded: Callable[..., Any], level: str) -> None:
    assert loaded(f"{MINIMAL}{level}null").settings == loaded(MINIMAL).settings
    settings = loaded(f"{MINIMAL}{level}{{window: null}}").settings
    assert settings.defaults == loaded(MINIMAL).settings.defaults


PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"
SAID = {"true": True, "none": None, "never": None, "false": False, "auto": "auto"}


def test_the_tables_of_the_docs_have_every_setting_and_its_default(loaded: Callable[..., Any]) -> None:
    said: dict[str, object] = {}
    section = ""
    for row in re.findall(r"^\| (`[a-z._]+`)? ?\| (`.*?`) \| (.+?) \|", PAGE.read_text(), flags=re.MULTILINE):
        section = row[0].strip("`") or section
        keys, defaults = re.findall(r"`(\w+)`", row[1]), row[2].split()
        for key, default in zip(keys, defaults, strict=True):
            said[f"{section}.{key}"] = SAID[default] if default in SAID else float(default)
    settings = loaded(MINIMAL).settings
    sections = {
        name: getattr(settings.defaults, name) for name in ("retry", "breaker", "concurrency", "throttle", "probing")
    }
    known = dict(leaves(sections | {"shedding": settings.shedding}))
    assert said == {name: value for name, value in known.items() if not name.endswith(".enabled") or name in said}
    assert [name for name, value in known.items() if name.endswith(".enabled") and not value] == [
        "retry.throttle.enabled"
    ]


def leaves(sections: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in sections.items():
        if isinstance(value, Section):
            yield from leaves(dict(value), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
