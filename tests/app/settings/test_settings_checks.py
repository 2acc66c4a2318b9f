"""How the parts fit together, and that everything is told at once, with the right line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Complain = Callable[..., list[str]]
PROVIDERS = "providers:\n- {name: alpha, kind: echo}\n- {name: beta, kind: echo}\n"  # lines 1 to 3
BOTH = "targets: [{provider: alpha}, {provider: beta}]"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            f"{PROVIDERS}- kind: echo\n  name: alpha\nroutes:\n- {{model: m, {BOTH}}}",
            ['5: providers[2].name: a second provider "alpha"; the first is at breakwater.yaml:2'],
        ),
        (
            f"{PROVIDERS}routes:\n- {{model: m, {BOTH}}}\n- {{model: n, {BOTH}}}\n- {{model: m, {BOTH}}}",
            ['7: routes[2].model: a second route for model "m"; the first is at breakwater.yaml:5'],
        ),
        (
            (
                f"{PROVIDERS}routes:\n- model: m\n  targets:\n  - {{provider: alpha}}\n  - {{provider: beta}}\n"
                "  - {provider: alpha, model: x}\n  - {provider: alpha, model: y}\n  - {provider: alpha, tier: 1}\n"
                "  - {provider: alpha, model: x, weight: 5}\n  retry: {max_attempts: 6}\n"
            ),
            [
                '11: routes[0].targets[4]: a second target "alpha/m"; the first is at breakwater.yaml:7',
                '12: routes[0].targets[5]: a second target "alpha/x"; the first is at breakwater.yaml:9',
            ],
        ),
        (
            (
                f"{PROVIDERS}routes:\n- model: m\n  targets:\n  - {{provider: alpah}}\n  - {{provider: beta}}\n"
                "  - {provider: zzz}\n  - {provider: alpha}"
            ),
            [
                '7: routes[0].targets[0].provider: unknown provider; did you mean "alpha"?',
                "9: routes[0].targets[2].provider: unknown provider; known here: alpha, beta",
            ],
        ),
        (
            f"{PROVIDERS}routes:\n- {{model: m, targets: [{{provider: beta}}]}}",
            ['2: providers[0]: no route uses the provider "alpha"; add a target for it, or remove it'],
        ),
        (
            f"{PROVIDERS}routes:\n- model: m\n  targets: [{{provider: alpha, weight: 0}}, {{provider: beta, weight: 0, tier: 1}}]",
            ["6: routes[0].targets: every weight of the route is 0, so nothing could ever be picked"],
        ),
    ],
)
def test_names_and_weights(complaints: Complain, text: str, wanted: list[str]) -> None:
    assert complaints(text) == [f"breakwater.yaml:{line}" for line in wanted]


@pytest.mark.parametrize(
    "targets",
    [
        "{provider: alpha, weight: 0}, {provider: beta}",
        "{provider: alpha, weight: 0}, {provider: beta, weight: 0.1, tier: 1}",
        "{provider: alpha}, {provider: alpha, model: x}, {provider: beta}",
    ],
)
def test_what_is_fine(loaded: Callable[..., Any], targets: str) -> None:
    assert loaded(f"{PROVIDERS}routes:\n- {{model: m, targets: [{targets}]}}").settings


def test_the_same_target_may_serve_two_routes(loaded: Callable[..., Any]) -> None:
    assert loaded(f"{PROVIDERS}routes:\n- {{model: m, {BOTH}}}\n- {{model: '*', {BOTH}}}").settings


def test_a_token_that_nobody_listens_for(loaded: Callable[..., Any], complaints: Complain) -> None:
    text = f"{PROVIDERS}routes:\n- {{model: m, {BOTH}}}\nadmin: {{token: hush-hush}}\nserver:\n  admin_port: "
    assert complaints(f"{text}null") == [
        "breakwater.yaml:6: admin.token: nobody listens for it: server.admin_port is null at breakwater.yaml:8; remove one"
    ]
    assert loaded(f"{text}0").settings.server.admin_port == 0
    assert loaded(f"{text}null", {"BREAKWATER_ADMIN__TOKEN": "null"}).settings.server.admin_port is None


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("chaos: {header_faults: true}\nserver: {admin_port: null}", "signed with the token of the admin API"),
        ("chaos: {header_faults: true, enabled: false}", "no fault acts while chaos.enabled is false"),
    ],
)
def test_faults_by_header_that_nobody_could_sign_or_that_could_not_act(
    complaints: Complain, more: str, says: str
) -> None:
    (told,) = complaints(f"{PROVIDERS}routes:\n- {{model: m, {BOTH}}}\n{more}")
    assert told.startswith("breakwater.yaml:6: chaos.header_faults: ")
    assert says in told


def test_everything_at_once(complaints: Complain) -> None:
    """The checks look at what is sound, and draw no conclusion from what is not."""
    told = complaints(
        """\
server: {prt: 80}
server: {port: 99999}
providers:
- {name: alpha, kind: echo, seed: 1}
- {name: alpha, kind: mok}
- {nmae: gamma, kind: echo}
routes:
- model: m
  strategy: cost
  timeouts: {total: x, attempt: 9000}
  targets:
  - {provider: ${NONE}, weight: yes}
  - {provider: nobody}
  - {provider: alpha, weight: 0}
  - {provider: alpha, weigth: 1}
- model: m
  targets: [{provider: alpha, weight: 0}]
  retry: {max_attempts: 1, budget: 1}
defaults: {timeouts: {idle: 601}}
cache: {}
""",
        {"BREAKWATER_SEED": "x", "JWT_SECRET": "hush"},
    )
    assert [" ".join(line.removeprefix("breakwater.yaml:").split(": ")[:2]) for line in told] == [
        "1 server.prt",
        "2 server",
        "4 providers[0].seed",
        "5 providers[1].kind",
        "5 providers[1].name",
        "6 providers[2].name",
        "6 providers[2].nmae",
        "9 routes[0].strategy",
        "10 routes[0].timeouts.total",
        "12 routes[0].targets[0].provider",
        "12 routes[0].targets[0].weight",
        "15 routes[0].targets[3]",
        "15 routes[0].targets[3].weigth",
        "16 routes[1].model",
        "17 routes[1].targets",
        "18 routes[1].retry.budget",
        "19 defaults.timeouts.idle",
        "20 cache",
        "environment BREAKWATER_SEED seed",
        "environment JWT_SECRET this version (0.1) has no authentication yet; unset it",
    ]


def test_no_complaint_follows_from_another(complaints: Complain) -> None:
    cases = {
        f"providers: 5\nroutes:\n- {{model: m, {BOTH}}}": ["1: providers: must be a list"],
        f"{PROVIDERS}routes: 5": ["4: routes: must be a list"],
        f"{PROVIDERS}routes:\n- {{model: m, targets: [{{provder: alpha}}, {{provider: beta}}]}}": [
            '5: routes[0].targets[0].provder: unknown key; did you mean "provider"?',
            "5: routes[0].targets[0].provider: is missing",
        ],
        "providers:\n- {name: '?', kind: echo}\nroutes:\n- {model: m, targets: [{provider: '?'}]}": [
            "2: providers[0].name: must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"
        ],
        f"{PROVIDERS}routes:\n- {{model: m, {BOTH}, timeouts: {{total: 20, attempt: x, first_token: 9, idle: 9}}}}": [
            "5: routes[0].timeouts.attempt: must be a number"
        ],
        "providers:\n- {name: m, kind: mock, ttft: {lognormal: [${NONE}, 1]}}\nroutes:\n- {model: m, targets: [{provider: m}]}": [
            "2: providers[0].ttft.lognormal[0]: the environment variable NONE is not set; set it, or write ${NONE:-default}"
        ],
    }
    for text, wanted in cases.items():
        assert complaints(text) == [f"breakwater.yaml:{line}" for line in wanted]
