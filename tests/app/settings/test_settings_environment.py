"""Variables over the file: every setting, the short names, weights, and the names that nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.settings import Settings
from app.settings.environment import names_of
from providers.law import Law

FILE = """\
server: {port: 1111}
providers:
- {name: alpha, kind: mock, seed: 1}
- {name: beta, kind: vllm, api_key: in-the-file}
routes:
- model: m
  targets:
  - {provider: alpha, weight: 3}
  - {provider: beta}
  - {provider: beta, model: x}
telemetry: {log_level: WARNING}
"""
Complain = Callable[..., list[str]]


def reach(settings: Any, path: str) -> Any:
    for part in path.split("."):
        settings = settings[int(part)] if part.isdecimal() else getattr(settings, part)
    return settings


@pytest.mark.parametrize(
    ("variable", "text", "path", "wanted"),
    [
        ("SERVER__PORT", "80", "server.port", 80),
        ("SERVER__PORT", " 80\n", "server.port", 80),
        ("server__Port", "80", "server.port", 80),
        ("ROUTES__0__MODEL", "0", "routes.0.model", "0"),
        ("SERVER__DRAIN_SECONDS", "1.5", "server.drain_seconds", 1.5),
        ("SERVER__TRUSTED_PROXIES", "[10.0.0.0/8, 127.0.0.1]", "server.trusted_proxies", ["10.0.0.0/8", "127.0.0.1"]),
        ("SERVER__TRUSTED_PROXIES", '["10.0.0.0/8"]', "server.trusted_proxies", ["10.0.0.0/8"]),
        ("SERVER", '{"port": 5}', "server.port", 5),
        ("TELEMETRY__ACCESS_LOG", "false", "telemetry.access_log", False),
        ("TELEMETRY__LOG_LEVEL", "error", "telemetry.log_level", "ERROR"),
        ("SEED", "-7", "seed", -7),
        ("DEFAULTS__RETRY__BACKOFF__CAP", "3", "defaults.retry.backoff.cap", 3),
        ("DEFAULTS__TIMEOUTS__IDLE", "3", "defaults.timeouts.idle", 3),
        ("DEFAULTS__BREAKER__WINDOW", "60", "defaults.breaker.window", 60),
        ("DEFAULTS__BREAKER__ENABLED", "false", "defaults.breaker.enabled", False),
        ("DEFAULTS__RETRY__BUDGET__RATIO", "0.2", "defaults.retry.budget.ratio", 0.2),
        ("DEFAULTS__CONCURRENCY__INITIAL", "20", "defaults.concurrency.initial", 20),
        ("DEFAULTS__PROBING", "{timeout: 1, idle: 60}", "defaults.probing.idle", 60),
        ("SHEDDING__QUEUE__LENGTH", "0", "shedding.queue.length", 0),
        ("TELEMETRY__DECISIONS", "5", "telemetry.decisions", 5),
        ("ROUTES__0__STRATEGY", "latency", "routes.0.strategy", "latency"),
        ("ROUTES__0__HEDGE__AFTER", "1.5", "routes.0.hedge.after", 1.5),
        ("ROUTES__0__HEDGE", "{after: p99.9}", "routes.0.hedge.after", "p99.9"),
        ("ROUTES__0__TARGETS__1__BREAKER__CONSECUTIVE", "8", "routes.0.targets.1.breaker.consecutive", 8),
        ("ROUTES__0__TARGETS__1__PRICE", '{"input": 0.15, "output": 0.6}', "routes.0.targets.1.price.output", 0.6),
        ("PROVIDERS__0__SEED", "9", "providers.0.options.seed", 9),
        ("PROVIDERS__0__TTFT", "0.5", "providers.0.options.ttft", Law("constant", 0.5)),
        ("PROVIDERS__0__TTFT", "{uniform: [1, 2]}", "providers.0.options.ttft", Law("uniform", 1, 2)),
        ("PROVIDERS__0__TTFT__EXPONENTIAL", "2", "providers.0.options.ttft", Law("exponential", 2)),
        ("PROVIDERS__1__API_KEY", "007 #x", "providers.1.options.api_key", "007 #x"),
        ("PROVIDERS__1__API_KEY", "*x: ${Y}", "providers.1.options.api_key", "*x: ${Y}"),
        ("PROVIDERS__1__API_KEY", "null", "providers.1.options.api_key", None),
        ("PROVIDERS__1__HEADERS", '{"a": "${B} $$"}', "providers.1.options.headers", {"a": "${B} $$"}),
        ("ROUTES__0__TARGETS__1__WEIGHT", "8", "routes.0.targets.1.weight", 8),
        ("ROUTES__0__TIMEOUTS__IDLE", "8", "routes.0.timeouts.idle", 8),
        (
            "ROUTES",
            '[{"model": "n", "targets": [{"provider": "alpha"}, {"provider": "beta"}]}]',
            "routes.0.model",
            "n",
        ),
    ],
)
def test_a_setting(loaded: Callable[..., Any], variable: str, text: str, path: str, wanted: object) -> None:
    assert reach(loaded(FILE, {f"BREAKWATER_{variable}": text}).settings, path) == wanted


def test_every_setting_has_a_name(loaded: Callable[..., Any]) -> None:
    """Given as it is, none changes anything, and none is unknown."""
    settings = loaded(FILE).settings
    names = names_of(Settings)
    assert {"BREAKWATER_SERVER__PORT", "BREAKWATER_DEFAULTS__RETRY__BACKOFF__BASE", "BREAKWATER_ROUTES"} < set(names)
    for name in names:
        value = reach(settings, name.removeprefix("BREAKWATER_").replace("__", ".").lower())
        if not isinstance(value, list) or value == []:
            assert loaded(FILE, {name: "null" if value is None else str(value)}).settings == settings


@pytest.mark.parametrize(
    ("environ", "path", "wanted"),
    [
        ({"HOST": "::1"}, "server.host", "::1"),
        ({"PORT": "2222"}, "server.port", 2222),
        ({"PORT": "2222", "BREAKWATER_SERVER__PORT": "3333"}, "server.port", 3333),
        ({"LOG_LEVEL": "error"}, "telemetry.log_level", "ERROR"),
        ({"LOG_LEVEL": "ERROR", "DEBUG": "true"}, "telemetry.log_level", "DEBUG"),
        ({"DEBUG": "1"}, "telemetry.log_level", "DEBUG"),
        ({"DEBUG": "TRUE", "BREAKWATER_TELEMETRY__LOG_LEVEL": "INFO"}, "telemetry.log_level", "INFO"),
        ({"DEBUG": "false"}, "telemetry.log_level", "WARNING"),
        ({"DEBUG": "0", "LOG_LEVEL": "ERROR"}, "telemetry.log_level", "ERROR"),
        ({"HOST": "", "PORT": " ", "LOG_LEVEL": "", "DEBUG": "", "PROVIDER_WEIGHTS": ""}, "server.port", 1111),
        ({"GATEWAY_API_KEYS": "", "JWT_SECRET": "", "BREAKWATER_SERVER__PORT": ""}, "server.port", 1111),
        ({"BREAKWATER_URL": "http://x", "BREAKWATER_API_KEY": "k"}, "server.port", 1111),
        ({"SERVER__PORT": "1", "XBREAKWATER_SEED": "1", "PATH": "/bin"}, "server.port", 1111),
    ],
)
def test_short_names_and_precedence(
    loaded: Callable[..., Any], environ: dict[str, str], path: str, wanted: object
) -> None:
    assert reach(loaded(FILE, environ).settings, path) == wanted


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, [3, 1, 1]),
        ({"PROVIDER_WEIGHTS": '{"beta": 7}'}, [3, 7, 7]),
        ({"PROVIDER_WEIGHTS": '{"beta": 0.5, "alpha": 0}'}, [0, 0.5, 0.5]),
        ({"PROVIDER_WEIGHTS": '{"alpha": 7}', "BREAKWATER_ROUTES__0__TARGETS__0__WEIGHT": "9"}, [9, 1, 1]),
        (
            {
                "PROVIDER_WEIGHTS": '{"alpha": 7, "beta": 8}',
                "BREAKWATER_ROUTES": "[{model: m, targets: [{provider: alpha, weight: 1}, {provider: beta}]}]",
            },
            [1, 8],
        ),
    ],
)
def test_provider_weights(loaded: Callable[..., Any], environ: dict[str, str], wanted: list[float]) -> None:
    assert [target.weight for target in loaded(FILE, environ).settings.routes[0].targets] == wanted


def test_weights_for_providers_from_the_environment(loaded: Callable[..., Any]) -> None:
    environ = {
        "PROVIDER_WEIGHTS": '{"late": 5}',
        "BREAKWATER_PROVIDERS": "[{name: late, kind: echo}]",
        "BREAKWATER_ROUTES": "[{model: m, targets: [{provider: late}]}]",
    }
    assert loaded(FILE, environ).settings.routes[0].targets[0].weight == 5


ITEM = "there is no item"
NO_AUTHENTICATION = (
    "this version (0.1) has no authentication yet; unset it: a control that looks on but is not is worse than none"
)
LATER = "is not in this version yet (0.1); remove it: a control that looks on but is not is worse than none"
JSON = 'must be a JSON object of providers and weights, such as {"openai": 70, "vllm": 30}'


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("BREAKWATER_SERVER__PORT", "x", "server.port: must be a whole number"),
        ("BREAKWATER_SERVER__PORT", "true", "server.port: must be a whole number"),
        ("BREAKWATER_SERVER__PROT", "1", 'server.prot: unknown key; did you mean "BREAKWATER_SERVER__PORT"?'),
        ("BREAKWATER_SERVR__PORT", "1", 'servr: unknown key; did you mean "BREAKWATER_SERVER__PORT"?'),
        ("BREAKWATER_SERVER_PORT", "1", 'server_port: unknown key; did you mean "BREAKWATER_SERVER__PORT"?'),
        ("BREAKWATER_PORT", "1", 'port: unknown key; did you mean "BREAKWATER_SERVER__PORT"?'),
        ("BREAKWATER_SEED__X", "1", 'seed: unknown key; did you mean "BREAKWATER_SEED"?'),
        ("BREAKWATER_CONFIGURATION_FILE_OF_MINE", "x", None),
        ("BREAKWATER_", "x", None),
        ("BREAKWATER_SERVER__", "x", None),
        ("BREAKWATER_SERVER", "[", "not valid YAML: expected the node content, but found '<stream end>' (column 2)"),
        ("BREAKWATER_SERVER", "{port: 1, port: 2}", "port: this key was given before, on line 1"),
        ("BREAKWATER_SERVER", "5", "server: must be a mapping of keys to values"),
        ("BREAKWATER_SERVER", "{prot: 1}", 'server.prot: unknown key; did you mean "port"?'),
        ("BREAKWATER_SERVER__PORT__X", "1", "server.port: is a plain value and has no settings inside"),
        ("BREAKWATER_PROVIDERS__2__SEED", "1", f"providers: {ITEM} '2'; the list has 2"),
        ("BREAKWATER_PROVIDERS__ALPHA__SEED", "1", f"providers: {ITEM} 'alpha'; the list has 2"),
        ("BREAKWATER_PROVIDERS__0__SEDE", "1", 'providers[0].sede: unknown key; did you mean "seed"?'),
        ("BREAKWATER_PROVIDERS__0__SEED", "x", "providers[0].seed: must be a whole number"),
        ("BREAKWATER_PROVIDERS__0__NAME", "a b", "providers[0].name: must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"),
        ("BREAKWATER_AUTH__KEYS", "[]", f"auth: `auth` {LATER}"),
        ("BREAKWATER_DEFAULTS__BREAKER__WINDOW", "0", "defaults.breaker.window: must be greater than 0"),
        ("BREAKWATER_DEFAULTS__BREAKER__WINDW", "1", 'defaults.breaker.windw: unknown key; did you mean "BREAKWATER_DEFAULTS__BREAKER__WINDOW"?'),
        ("BREAKWATER_DEFAULTS__BREAKER__OPEN_BASE", "301", "defaults.breaker.open_base: open_base (301 s) is longer than open_max (300 s, the default), so it could never act"),
        ("BREAKWATER_DEFAULTS__BREAKER", '{"open_base": 301}', "defaults.breaker.open_base: open_base (301 s) is longer than open_max (300 s, the default), so it could never act"),
        ("BREAKWATER_ROUTES__0__HEDGE__AFTER", "p42", "routes[0].hedge.after: must be seconds, above 0, or a quantile from p50 to p99.9, such as p95"),
        ("BREAKWATER_DEFAULTS__TIMEOUTS__IDLE", "700", "defaults.timeouts.idle: idle (700 s) is longer than total (600 s, the default), so it could never act"),
        ("PORT", "x", "server.port: must be a whole number"),
        ("PORT", "99999", "server.port: must be less than or equal to 65535"),
        ("LOG_LEVEL", "loud", "telemetry.log_level: must be 'INFO', 'DEBUG', 'WARNING' or 'ERROR'"),
        ("DEBUG", "app:*", "must be true or false"),
        ("GATEWAY_API_KEYS", "hush", NO_AUTHENTICATION),
        ("JWT_SECRET", "hush", NO_AUTHENTICATION),
        ("PROVIDER_WEIGHTS", "alpha=1", JSON),
        ("PROVIDER_WEIGHTS", "[1]", JSON),
        ("PROVIDER_WEIGHTS", "[" * 100_000, JSON),
        ("PROVIDER_WEIGHTS", '{"alpah": 1}', 'alpah: unknown provider; did you mean "alpha"?'),
        ("PROVIDER_WEIGHTS", '{"zzz": 1}', "zzz: unknown provider; known here: alpha, beta"),
        *(
            ("PROVIDER_WEIGHTS", f'{{"alpha": {weight}}}', "alpha: must be a number >= 0")
            for weight in ("true", "-1", '"1"', "NaN", "Infinity", "null", "[1]")
        ),
    ],
)  # fmt: skip
def test_a_wrong_variable(complaints: Complain, name: str, text: str, wanted: str | None) -> None:
    told = complaints(FILE, {name: text})
    assert len(told) == 1
    if wanted is None:
        assert told[0].startswith(f"environment {name}: ")
        assert "unknown key" in told[0]
    else:
        assert told == [f"environment {name}: {wanted}"]


def test_every_wrong_variable_is_told(complaints: Complain) -> None:
    environ = {"BREAKWATER_SERVR__PORT": "1", "BREAKWATER_SERVR__HOST": "h", "BREAKWATER_SEDE": "1", "DEBUG": "x"}
    assert complaints(FILE, environ) == [
        'environment BREAKWATER_SEDE: sede: unknown key; did you mean "BREAKWATER_SEED"?',
        'environment BREAKWATER_SERVR__HOST: servr: unknown key; did you mean "BREAKWATER_SERVER__HOST"?',
        'environment BREAKWATER_SERVR__PORT: servr: unknown key; did you mean "BREAKWATER_SERVER__PORT"?',
        "environment DEBUG: must be true or false",
    ]  # fmt: skip


def test_all_weights_zero_by_the_environment(complaints: Complain) -> None:
    told = complaints(FILE, {"PROVIDER_WEIGHTS": '{"alpha": 0, "beta": 0}'})
    assert told == [
        (
            "environment PROVIDER_WEIGHTS: routes[0].targets[0].weight: "
            "every weight of the route is 0, so nothing could ever be picked"
        )
    ]


def test_a_variable_replaces_what_the_file_could_not_read(loaded: Callable[..., Any], complaints: Complain) -> None:
    text = FILE.replace("in-the-file", "${NOT_SET}")
    assert complaints(text) == [
        (
            "breakwater.yaml:4: providers[1].api_key: the environment variable NOT_SET is not set; "
            "set it, or write ${NOT_SET:-default}"
        )
    ]
    options = loaded(text, {"BREAKWATER_PROVIDERS__1__API_KEY": "k"}).settings.providers[1].options
    assert options.api_key == "k"
    wrong = complaints(text, {"BREAKWATER_PROVIDERS__1__API_KEY": "[k]"})
    assert [line.split(": ")[0] for line in wrong] == ["environment BREAKWATER_PROVIDERS__1__API_KEY"]


def test_what_a_variable_replaces_is_checked_anew(complaints: Complain) -> None:
    text = f"{FILE}defaults: {{timeouts: {{idle: ${{NOT_SET}}}}}}"
    told = complaints(text, {"BREAKWATER_DEFAULTS__TIMEOUTS__IDLE": "700"})
    assert [line.split(": ")[:2] for line in told] == [
        ["environment BREAKWATER_DEFAULTS__TIMEOUTS__IDLE", "defaults.timeouts.idle"]
    ]


def test_no_secret_of_the_environment_in_an_error(complaints: Complain) -> None:
    environ = {
        "BREAKWATER_PROVIDERS__1__API_KEY": "[hush-hush, '*hush-hush']",
        "BREAKWATER_PROVIDERS__1__HEADERS": "{a: *hush-hush}",
        "GATEWAY_API_KEYS": "hush-hush",
        "JWT_SECRET": "hush-hush",
        "BREAKWATER_SERVER__PORT": "hush-hush",
        "BREAKWATER_ADMIN__TOKEN": "hush hush",
    }
    told = complaints(FILE, environ)
    assert len(told) == len(environ)
    assert "hush" not in "".join(told)


def test_what_kubernetes_says_about_a_service_named_breakwater(
    loaded: Callable[..., Any], complaints: Complain
) -> None:
    environ = {
        "BREAKWATER_SERVICE_HOST": "10.0.0.1",
        "BREAKWATER_SERVICE_PORT": "8000",
        "BREAKWATER_SERVICE_PORT_API": "8000",
        "BREAKWATER_PORT": "tcp://10.0.0.1:8000",
        "BREAKWATER_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "BREAKWATER_PORT_8000_TCP_ADDR": "10.0.0.1",
        "BREAKWATER_PORT_8000_TCP_PORT": "8000",
        "BREAKWATER_PORT_8000_TCP_PROTO": "tcp",
        "BREAKWATER_ADMIN_SERVICE_HOST": "10.0.0.2",
        "BREAKWATER_ADMIN_SERVICE_PORT": "8001",
        "BREAKWATER_ADMIN_PORT": "tcp://10.0.0.2:8001",
    }
    assert loaded(FILE, environ).settings == loaded(FILE).settings
    assert loaded(FILE, environ | {"BREAKWATER_SERVER__PORT": "5"}).settings.server.port == 5
    told = complaints(FILE, environ | {"BREAKWATER_SERVER_PORT": "5"})
    assert told == [
        'environment BREAKWATER_SERVER_PORT: server_port: unknown key; did you mean "BREAKWATER_SERVER__PORT"?'
    ]
