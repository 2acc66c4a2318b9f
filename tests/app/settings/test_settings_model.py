"""Every section: its defaults, its bounds, its unknown keys, and what a later version will have.

Those of resilience and of what a route does with its calls are in files of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from app.settings import DefaultsSettings, ServerSettings, Settings, TelemetrySettings
from app.settings.resilience import TimeoutSettings

MINIMAL = "providers: [{name: e, kind: echo}]\nroutes:\n- model: m\n  targets:\n  - provider: e\n"
Complain = Callable[..., list[str]]


def test_defaults_are_those_of_the_contract(loaded: Callable[..., Any]) -> None:
    settings = loaded(MINIMAL).settings
    assert settings.server == ServerSettings(
        host="127.0.0.1",
        port=8000,
        metrics_port=9090,
        admin_port=8001,
        drain_seconds=30,
        max_body_mb=20,
        receive_timeout_s=10,
        send_timeout_s=30,
        trusted_proxies=[],
    )
    assert settings.telemetry == TelemetrySettings(
        log_level="INFO", access_log=True, stream_usage=False, decisions=1000
    )
    assert settings.admin.token is None
    assert settings.passthrough is None
    assert settings.seed == 0
    route = settings.routes[0]
    assert (route.strategy, route.hedge, route.mirror, route.experiments) == ("weighted", None, None, [])
    assert (route.timeouts, route.retry, route.breaker, route.concurrency) == (None, None, None, None)
    target = route.targets[0]
    assert (target.model, target.weight, target.tier, target.price) == (None, 1, 0, None)
    assert (target.timeouts, target.breaker, target.concurrency, target.throttle, target.probing) == (None,) * 5


def test_every_value(loaded: Callable[..., Any]) -> None:
    settings = loaded(
        """
server: {host: "::1", port: "80", metrics_port: 0, admin_port: null, drain_seconds: 0, max_body_mb: 0.5,
         receive_timeout_s: 1, send_timeout_s: "2", trusted_proxies: [10.0.0.0/8, "::1", 192.0.2.1]}
providers: [{name: a.B-c_9, kind: echo}]
routes:
- {model: "*", strategy: weighted, timeouts: {total: 5.5},
   targets: [{provider: a.B-c_9, model: x/y, weight: "2.5", tier: 3, price: {input: 0, output: "1.5"}}]}
telemetry: {log_level: debug, access_log: no, stream_usage: yes, decisions: 0}
seed: -3
"""
    ).settings
    assert settings.server.model_dump() == {
        "host": "::1",
        "port": 80,
        "metrics_port": 0,
        "admin_port": None,
        "drain_seconds": 0,
        "max_body_mb": 0.5,
        "receive_timeout_s": 1,
        "send_timeout_s": 2,
        "trusted_proxies": ["10.0.0.0/8", "::1", "192.0.2.1"],
    }
    (route,) = settings.routes
    assert route.model_dump(exclude_none=True) == {
        "model": "*",
        "strategy": "weighted",
        "experiments": [],
        "timeouts": {"total": 5.5},
        "targets": [
            {
                "provider": "a.B-c_9",
                "model": "x/y",
                "weight": 2.5,
                "tier": 3,
                "price": {"input": 0, "output": 1.5},
            }
        ],
    }
    telemetry = {"log_level": "DEBUG", "access_log": False, "stream_usage": True, "decisions": 0}
    assert settings.telemetry.model_dump() == telemetry
    assert settings.seed == -3


@pytest.mark.parametrize("section", ["server", "defaults", "shedding", "admin", "telemetry"])
def test_an_empty_section_has_its_defaults(loaded: Callable[..., Any], section: str) -> None:
    assert loaded(f"{MINIMAL}{section}:\n").settings == loaded(MINIMAL).settings


def test_frozen(loaded: Callable[..., Any]) -> None:
    settings = loaded(MINIMAL).settings
    with pytest.raises(ValidationError):
        settings.server.port = 1


NUMBER = "must be a number, not true or false (YAML reads yes, no, on and off as these)"
TEXT = "must be text; a number or a word such as yes becomes text in quotes"
MAPPING = "must be a mapping of keys to values"
KNOWN = (
    "unknown key; known here: breaker, concurrency, model, price, probing, provider, throttle, tier, timeouts, weight"
)
NETWORK = "must be an IP address or a network such as 10.0.0.0/8"
TOKEN = "must be at least 8 characters, printable ASCII without spaces; left out, one is made at each start"
STRATEGIES = "must be 'weighted', 'least_busy', 'latency', 'cost' or 'affinity'"
LEVELS = "must be 'INFO', 'DEBUG', 'WARNING' or 'ERROR'"


@pytest.mark.parametrize(
    ("line", "key", "message"),
    [
        ("server: {prot: 1}", "server.prot", 'unknown key; did you mean "port"?'),
        ("server: {PORT: 1}", "server.PORT", 'unknown key; did you mean "port"?'),
        (
            "server: {xyz: 1}",
            "server.xyz",
            (
                "unknown key; known here: admin_port, drain_seconds, host, max_body_mb, metrics_port, port, "
                "receive_timeout_s, send_timeout_s, trusted_proxies"
            ),
        ),
        ("sever: {port: 1}", "sever", 'unknown key; did you mean "server"?'),
        ("defaults: {timeout: {}}", "defaults.timeout", 'unknown key; did you mean "timeouts"?'),
        ("defaults: {timeouts: {conect: 1}}", "defaults.timeouts.conect", 'unknown key; did you mean "connect"?'),
        ("telemetry: {level: INFO}", "telemetry.level", 'unknown key; did you mean "log_level"?'),
        ("server: 5", "server", MAPPING),
        ("server: [1]", "server", MAPPING),
        ("server: {host: ''}", "server.host", "must not be empty"),
        ("server: {host: 5}", "server.host", TEXT),
        ("server: {port: x}", "server.port", "must be a whole number"),
        ("server: {port: 1.5}", "server.port", "must be a whole number"),
        ("server: {port: }", "server.port", "must be a whole number"),
        ("server: {port: on}", "server.port", NUMBER),
        ("server: {port: -1}", "server.port", "must be greater than or equal to 0"),
        ("server: {port: 65536}", "server.port", "must be less than or equal to 65535"),
        ("server: {admin_port: 65536}", "server.admin_port", "must be less than or equal to 65535"),
        ("server: {metrics_port: 65536}", "server.metrics_port", "must be less than or equal to 65535"),
        ("server: {drain_seconds: -1}", "server.drain_seconds", "must be greater than or equal to 0"),
        ("server: {drain_seconds: .inf}", "server.drain_seconds", "must be a finite number"),
        ("server: {max_body_mb: 0}", "server.max_body_mb", "must be greater than 0"),
        ("server: {max_body_mb: 1001}", "server.max_body_mb", "must be less than or equal to 1000"),
        ("server: {send_timeout_s: 0}", "server.send_timeout_s", "must be greater than 0"),
        ("server: {receive_timeout_s: 0}", "server.receive_timeout_s", "must be greater than 0"),
        ("server: {trusted_proxies: 10.0.0.1}", "server.trusted_proxies", "must be a list"),
        ("server: {trusted_proxies: [10.0.0.1, host]}", "server.trusted_proxies[1]", NETWORK),
        ("server: {trusted_proxies: ['*']}", "server.trusted_proxies[0]", NETWORK),
        (
            "server: {trusted_proxies: [10.0.0.1/8]}",
            "server.trusted_proxies[0]",
            f"{NETWORK}; it has bits set beyond its prefix",
        ),
        ("server: {trusted_proxies: [1]}", "server.trusted_proxies[0]", TEXT),
        *(
            (f"defaults: {{timeouts: {{{name}: 0}}}}", f"defaults.timeouts.{name}", "must be greater than 0")
            for name in TimeoutSettings.model_fields
        ),
        ("defaults: {timeouts: {idle: .nan}}", "defaults.timeouts.idle", "must be a finite number"),
        ("defaults: {timeouts: {idle: null}}", "defaults.timeouts.idle", "must be a number"),
        ("telemetry: {log_level: LOUD}", "telemetry.log_level", LEVELS),
        ("telemetry: {log_level: 5}", "telemetry.log_level", LEVELS),
        ("telemetry: {access_log: maybe}", "telemetry.access_log", "must be true or false"),
        ("telemetry: {access_log: 2}", "telemetry.access_log", "must be true or false"),
        ("telemetry: {decisions: -1}", "telemetry.decisions", "must be greater than or equal to 0"),
        ("telemetry: {decisions: 100001}", "telemetry.decisions", "must be less than or equal to 100000"),
        ("telemetry: {decisions: 1.5}", "telemetry.decisions", "must be a whole number"),
        ("admin: {tokn: 12345678}", "admin.tokn", 'unknown key; did you mean "token"?'),
        ("admin: {token: 12345678}", "admin.token", TEXT),
        ("admin: {token: hush-hu}", "admin.token", TOKEN),
        ("admin: {token: hush hush}", "admin.token", TOKEN),
        ("admin: {token: hushhüsh}", "admin.token", TOKEN),
        ('admin: {token: "hush\\nhush"}', "admin.token", TOKEN),
        ("admin: {token: [hush-hush]}", "admin.token", TEXT),
        ("seed: x", "seed", "must be a whole number"),
        ("seed: true", "seed", NUMBER),
    ],
)
def test_a_wrong_value(complaints: Complain, line: str, key: str, message: str) -> None:
    assert complaints(f"{MINIMAL}{line}") == [f"breakwater.yaml:6: {key}: {message}"]


@pytest.mark.parametrize(
    ("entry", "key", "message"),
    [
        ("weight: yes", "weight", NUMBER),
        ("weight: -1", "weight", "must be greater than or equal to 0"),
        ("weight: .inf", "weight", "must be a finite number"),
        ("weight: " + "9" * 400, "weight", "must be a number"),
        ("wieght: 1", "wieght", 'unknown key; did you mean "weight"?'),
        ("tier: -1", "tier", "must be greater than or equal to 0"),
        ("tier: 0.5", "tier", "must be a whole number"),
        ("tier: no", "tier", NUMBER),
        ("model: ''", "model", "must not be empty"),
        ("model: 5", "model", TEXT),
        ("model: 'größer'", "model", "must consist of plain characters: printable ASCII"),
        ("timeouts: {idle: 0}", "timeouts.idle", "must be greater than 0"),
        ("timeouts: {ilde: 1}", "timeouts.ilde", 'unknown key; did you mean "idle"?'),
        ("timeouts: 5", "timeouts", MAPPING),
        ("retry: {max_attempts: 1}", "retry", "belongs into the route: its attempts go to all of its targets"),
        ("strategy: cost", "strategy", KNOWN),
        ("price: 5", "price", MAPPING),
        ("price: {input: 1}", "price.output", "is missing"),
        ("price: {input: -1, output: 1}", "price.input", "must be greater than or equal to 0"),
        ("price: {input: 1, output: .inf}", "price.output", "must be a finite number"),
        ("price: {input: 1, output: 1, cached: 1}", "price.cached", "unknown key; known here: input, output"),
    ],
)
def test_a_wrong_target(complaints: Complain, entry: str, key: str, message: str) -> None:
    told = complaints(f"{MINIMAL}    {entry}\n")
    assert told == [f"breakwater.yaml:6: routes[0].targets[0].{key}: {message}"]


@pytest.mark.parametrize(
    ("entry", "key", "message"),
    [
        ("strategy: random", "strategy", STRATEGIES),
        ("strategy: [a]", "strategy", STRATEGIES),
        ("modle: x", "modle", 'unknown key; did you mean "model"?'),
        ("timeouts: {total: x}", "timeouts.total", "must be a number"),
    ],
)
def test_a_wrong_route(complaints: Complain, entry: str, key: str, message: str) -> None:
    assert complaints(f"{MINIMAL}  {entry}\n") == [f"breakwater.yaml:6: routes[0].{key}: {message}"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("seed: 1", ["1: providers: is missing", "1: routes: is missing"]),
        ("providers: []\nroutes: []", ["1: providers: needs at least one", "2: routes: needs at least one"]),
        ("providers: 1\nroutes: {a: b}", ["1: providers: must be a list", "2: routes: must be a list"]),
        ("providers:\nroutes:", ["1: providers: must be a list", "2: routes: must be a list"]),
        (
            "providers: [{name: e, kind: echo}]\nroutes:\n- targets: []\n- model: m\n- 5\n-\n",
            [
                "3: routes[0].model: is missing",
                "3: routes[0].targets: needs at least one",
                "4: routes[1].targets: is missing",
                "5: routes[2]: must be a mapping of keys to values",
                "6: routes[3].model: is missing",
                "6: routes[3].targets: is missing",
            ],
        ),
        (
            "providers: [{name: e, kind: echo}]\nroutes:\n- model: m\n  targets:\n  - {weight: 1}\n  - x\n",
            ["5: routes[0].targets[0].provider: is missing", f"6: routes[0].targets[1]: {MAPPING}"],
        ),
    ],
)
def test_what_is_missing(complaints: Complain, text: str, wanted: list[str]) -> None:
    assert complaints(text) == [f"breakwater.yaml:{line}" for line in wanted]


def later(what: str) -> str:
    return (
        f"`{what}` is not in this version yet (0.1); remove it: a control that looks on but is not is worse than none"
    )


@pytest.mark.parametrize(
    "section",
    ["auth", "limits", "ledger", "guardrails", "cache", "slo", "recorder"],
)
def test_a_section_of_a_later_version(complaints: Complain, section: str) -> None:
    assert complaints(f"{MINIMAL}{section}: {{enabled: true}}") == [f"breakwater.yaml:6: {section}: {later(section)}"]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("telemetry: {otlp_endpoint: x}", "telemetry.otlp_endpoint"),
        ("telemetry: {trace_sample: 1}", "telemetry.trace_sample"),
        ("telemetry: {content: on}", "telemetry.content"),
    ],
)
def test_a_key_of_a_later_version(complaints: Complain, line: str, key: str) -> None:
    assert complaints(f"{MINIMAL}{line}") == [f"breakwater.yaml:6: {key}: {later(key.rpartition('.')[2])}"]


def test_the_token_is_never_shown(loaded: Callable[..., Any], complaints: Complain) -> None:
    settings = loaded(f"{MINIMAL}admin: {{token: ' hush-hush '}}").settings
    assert settings.admin.token.get_secret_value() == "hush-hush"
    assert "hush" not in repr(settings) + str(settings.model_dump()) + settings.admin.model_dump_json()
    assert "hush" not in "".join(complaints(f"{MINIMAL}admin: {{token: hush}}"))


@pytest.mark.parametrize("token", ["", "' '", "null"])
def test_a_blank_token_is_none(loaded: Callable[..., Any], token: str) -> None:
    assert loaded(f"{MINIMAL}admin: {{token: {token}}}").settings.admin.token is None


def test_made_in_code() -> None:
    raw = {"providers": [{"name": "e", "kind": "echo"}], "routes": [{"model": "m", "targets": [{"provider": "e"}]}]}
    settings = Settings.model_validate(raw)
    assert settings.providers[0].name == "e"
    assert settings.defaults == DefaultsSettings()
    with pytest.raises(ValidationError):
        Settings.model_validate(raw | {"sever": {}})
