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
                '11: routes[0].targets[4]: a second target "alpha/*"; the first is at breakwater.yaml:7',
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


TIERS = "targets: [{provider: alpha}, {provider: beta, tier: 1}]"
THREE = "{provider: alpha}, {provider: alpha, model: x}, {provider: alpha, model: y}"
MANY = ", ".join(f"{{provider: alpha, model: m{number}}}" for number in range(10))
FAILOVER = "failover cannot trigger: 1 attempt, but the route for model"
SECOND = "has 1 target before tier 1; allow at least 2"


@pytest.mark.parametrize(
    ("rest", "wanted"),
    [
        (
            f"- {{model: m, {TIERS}}}\ndefaults:\n  retry: {{max_attempts: 1}}",
            [f'7: defaults.retry.max_attempts: {FAILOVER} "m" {SECOND}'],
        ),
        (
            f"- model: m\n  {TIERS}\n  retry:\n    max_attempts: 1",
            [f'8: routes[0].retry.max_attempts: {FAILOVER} "m" {SECOND}'],
        ),
        (
            (
                f"- {{model: m, {TIERS}}}\n- {{model: n, {BOTH}, retry: {{max_attempts: 1}}}}\n"
                f"- {{model: o, {TIERS}, retry: {{max_attempts: 2}}}}\n- {{model: p, {TIERS}}}\n"
                "defaults: {retry: {max_attempts: 1}}"
            ),
            [
                f'9: defaults.retry.max_attempts: {FAILOVER} "m" {SECOND}',
                f'9: defaults.retry.max_attempts: {FAILOVER} "p" {SECOND}',
            ],
        ),
        (f"- {{model: m, {BOTH}, retry: {{max_attempts: 1}}}}", []),
        (f"- {{model: m, {TIERS}, retry: {{max_attempts: 2}}}}\ndefaults: {{retry: {{max_attempts: 1}}}}", []),
        (
            "- {model: m, targets: [{provider: alpha}, {provider: beta, tier: 1, weight: 0}], retry: {max_attempts: 1}}",
            [],
        ),
        (
            "- {model: m, targets: [{provider: alpha, weight: 0}, {provider: beta, tier: 1}], retry: {max_attempts: 1}}",
            [],
        ),
        (
            f"- model: m\n  targets: [{THREE},\n  {{provider: beta, tier: 1}}]",
            [
                (
                    '7: routes[0].targets[3]: failover cannot trigger: 3 attempts, but the route for model "m" has '
                    "3 targets before tier 1; allow at least 4"
                )
            ],
        ),
        (
            (
                "- model: m\n  targets: [{provider: alpha, tier: 2}, {provider: beta, tier: 7},\n"
                "  {provider: beta, model: x, tier: 5}]\n  retry:\n    max_attempts: 2"
            ),
            [
                (
                    '9: routes[0].retry.max_attempts: failover cannot trigger: 2 attempts, but the route for model "m" '
                    "has 2 targets before tier 7; allow at least 3"
                )
            ],
        ),
        (
            f"- model: m\n  targets: [{MANY}, {{provider: beta, tier: 1}}]\n  retry: {{max_attempts: 10}}",
            [
                (
                    '7: routes[0].retry.max_attempts: failover cannot trigger: 10 attempts, but the route for model "m" '
                    "has 10 targets before tier 1; 10 are the most, so use fewer"
                )
            ],
        ),
        (f"- {{model: m, targets: [{THREE}, {{provider: beta, tier: 1}}], retry: {{max_attempts: 4}}}}", []),
        (
            (
                "- {model: m, targets: [{provider: alpha, tier: 1}], retry: {max_attempts: 1}}\n"
                "- {model: n, targets: [{provider: beta}]}"
            ),
            [],
        ),
    ],
)
def test_failover(loaded: Callable[..., Any], complaints: Complain, rest: str, wanted: list[str]) -> None:
    text = f"{PROVIDERS}routes:\n{rest}"
    if wanted:
        assert complaints(text) == [f"breakwater.yaml:{line}" for line in wanted]
    else:
        assert loaded(text).settings


NEVER = "so it could never act"
TOTAL = "bounds all attempts together, so it belongs into the route's timeouts"


@pytest.mark.parametrize(
    ("route", "target", "defaults", "wanted"),
    [
        ("", "", "{first_token: 601}", f"10: defaults.timeouts.first_token: first_token (601 s) is longer than total (600 s, the default), {NEVER}"),
        ("", "", "{idle: 601}", f"10: defaults.timeouts.idle: idle (601 s) is longer than total (600 s, the default), {NEVER}"),
        ("", "", "{attempt: 601}", f"10: defaults.timeouts.attempt: attempt (601 s) is longer than total (600 s, the default), {NEVER}"),
        ("", "", "{attempt: 9, total: 8.5, first_token: 1, idle: 1, connect: 1}", f"10: defaults.timeouts.attempt: attempt (9 s) is longer than total (8.5 s), {NEVER}"),
        ("", "", "{connect: 31}", f"10: defaults.timeouts.connect: connect (31 s) is longer than first_token (30 s, the default), {NEVER}"),
        ("", "", "{attempt: 4}", ""),
        ("", "", "{total: 299}", ""),
        ("{total: 299}", "", "", ""),
        ("{total: 299}", "", "{attempt: 301}", ""),
        ("{idle: 601}", "", "", f"7: routes[0].timeouts.idle: idle (601 s) is longer than total (600 s, the default), {NEVER}"),
        ("", "{idle: 601}", "", f"9: routes[0].targets[0].timeouts.idle: idle (601 s) is longer than total (600 s, the default), {NEVER}"),
        ("{total: 400}", "{first_token: 401}", "", f"9: routes[0].targets[0].timeouts.first_token: first_token (401 s) is longer than total (400 s, from routes[0].timeouts), {NEVER}"),
        ("", "{total: 9}", "", f"9: routes[0].targets[0].timeouts.total: {TOTAL}"),
        ("", "", "{attempt: 600, idle: 600, first_token: 600, connect: 600}", ""),
        ("{total: 700, attempt: 700}", "{attempt: 699}", "", ""),
        ("{total: 20, attempt: 20, first_token: 20}", "{idle: 20}", "", ""),
        ("{total: null}", "{idle: null}", "", ""),
    ],
)  # fmt: skip
def test_timeouts(
    loaded: Callable[..., Any], complaints: Complain, route: str, target: str, defaults: str, wanted: str
) -> None:
    text = f"""\
providers:
- {{name: alpha, kind: echo}}

routes:
- model: m
  timeouts:
    {route}
  targets:
  - {{provider: alpha, timeouts: {target or "{}"}}}
defaults: {{timeouts: {defaults or "{}"}}}
"""
    if wanted:
        assert complaints(text) == [f"breakwater.yaml:{wanted}"]
    else:
        assert loaded(text).settings


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
