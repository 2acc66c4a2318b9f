"""Limits that exclude each other, and what two routes say differently about one target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Complain = Callable[..., list[str]]
Warn = Callable[..., list[str]]
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
        ("", "{total: 9, idle: 10}", "", f"9: routes[0].targets[0].timeouts.total: {TOTAL}"),
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


def written(route: str, target: str, defaults: str) -> str:
    """What a route says on line 5, a target on line 7, the defaults on line 8."""
    return f"""\
providers:
- {{name: alpha, kind: echo}}
routes:
- model: m
  {route or "strategy: weighted"}
  targets:
  - {{provider: alpha{target and f", {target}"}}}
defaults: {{{defaults}}}
"""


NEITHER = "and both cannot hold"


@pytest.mark.parametrize(
    ("route", "target", "defaults", "wanted"),
    [
        ("", "", "breaker: {open_base: 301}", f"8: defaults.breaker.open_base: open_base (301 s) is longer than open_max (300 s, the default), {NEVER}"),
        ("breaker: {open_base: 9}", "", "breaker: {open_max: 8}", f"5: routes[0].breaker.open_base: open_base (9 s) is longer than open_max (8 s, from defaults.breaker), {NEVER}"),
        ("", "breaker: {open_base: 9, open_max: 8}", "", f"7: routes[0].targets[0].breaker.open_base: open_base (9 s) is longer than open_max (8 s), {NEVER}"),
        ("", "breaker: {open_max: 4}", "", ""),
        ("", "breaker: {open_base: 300}", "", ""),
        ("", "", "breaker: {slow_first_token: 30}", f"8: defaults.breaker.slow_first_token: slow_first_token (30 s) is not shorter than first_token (30 s, the default), {NEVER}"),
        ("breaker: {slow_first_token: 10}", "", "timeouts: {first_token: 9}", f"5: routes[0].breaker.slow_first_token: slow_first_token (10 s) is not shorter than first_token (9 s, from defaults.timeouts), {NEVER}"),
        ("timeouts: {first_token: 9}", "", "", ""),
        ("timeouts: {first_token: 9}", "", "breaker: {slow_first_token: 20}", ""),
        ("timeouts: {first_token: 9}", "breaker: {slow_first_token: 9}", "", f"7: routes[0].targets[0].breaker.slow_first_token: slow_first_token (9 s) is not shorter than first_token (9 s, from routes[0].timeouts), {NEVER}"),
        ("breaker: {slow_first_token: 29.5}", "", "", ""),
        ("", "", "retry: {backoff: {base: 21}}", f"8: defaults.retry.backoff.base: base (21 s) is longer than cap (20 s, the default), {NEVER}"),
        ("retry: {backoff: {throttle_base: 3}}", "", "retry: {backoff: {cap: 2}}", f"5: routes[0].retry.backoff.throttle_base: throttle_base (3 s) is longer than cap (2 s, from defaults.retry.backoff), {NEVER}"),
        ("retry: {backoff: {cap: 0}}", "", "", ""),
        ("retry: {backoff: {base: 0, throttle_base: 20}}", "", "", ""),
        ("", "", "concurrency: {min: 1001}", f"8: defaults.concurrency.min: min (1001) is more than max (1000, the default), {NEITHER}"),
        ("concurrency: {min: 10}", "concurrency: {max: 9}", "", f"7: routes[0].targets[0].concurrency.max: min (10, from routes[0].concurrency) is more than max (9), {NEITHER}"),
        ("concurrency: {initial: 1001}", "", "", f"5: routes[0].concurrency.initial: initial (1001) is more than max (1000, the default), {NEITHER}"),
        ("concurrency: {min: 9}", "", "concurrency: {initial: 8}", f"5: routes[0].concurrency.min: min (9) is more than initial (8, from defaults.concurrency), {NEITHER}"),
        ("concurrency: {max: 9}", "", "concurrency: {initial: 10}", f"5: routes[0].concurrency.max: initial (10, from defaults.concurrency) is more than max (9), {NEITHER}"),
        ("concurrency: {min: 7, initial: 7, max: 7}", "", "", ""),
        ("concurrency: {max: 9}", "", "", ""),
        ("", "breaker: {max_ejected: 1}", "", "7: routes[0].targets[0].breaker.max_ejected: is a share of the route's targets, so it belongs into the route's breaker"),
        ("breaker: {max_ejected: 1}", "", "", ""),
        ("", "", "breaker: {max_ejected: 0}", ""),
        # What is wrong by itself is compared with nothing.
        ("", "", "breaker: {open_base: 301, open_max: x}", "8: defaults.breaker.open_max: must be a number"),
        ("", "concurrency: {min: 5000, max: 0}", "", "7: routes[0].targets[0].concurrency.max: must be greater than or equal to 1"),
        ("", "breaker: {slow_first_token: 99}, timeouts: {first_token: no}", "", "7: routes[0].targets[0].timeouts.first_token: must be a number, not true or false (YAML reads yes, no, on and off as these)"),
    ],
)  # fmt: skip
def test_what_excludes_each_other(
    loaded: Callable[..., Any], complaints: Complain, route: str, target: str, defaults: str, wanted: str
) -> None:
    text = written(route, target, defaults)
    if wanted:
        assert complaints(text) == [f"breakwater.yaml:{wanted}"]
    else:
        assert loaded(text).settings


def test_a_whole_section_in_a_variable_is_written_too(complaints: Complain) -> None:
    told = complaints(written("", "", ""), {"BREAKWATER_DEFAULTS": '{"timeouts": {"idle": 601}}'})
    assert told == [
        (
            "environment BREAKWATER_DEFAULTS: defaults.timeouts.idle: idle (601 s) is longer than "
            f"total (600 s, the default), {NEVER}"
        )
    ]


@pytest.mark.parametrize(
    ("route", "target", "defaults", "wanted"),
    [
        ("", "", "probing: {timeout: 6}", "8: defaults.probing.timeout: timeout (6 s) is longer than open_base (5 s, the default)"),
        ("", "breaker: {open_base: 1}", "", "7: routes[0].targets[0].breaker.open_base: timeout (2 s, the default) is longer than open_base (1 s)"),
        ("breaker: {open_base: 1}", "", "probing: {timeout: 0.5}", None),
        ("", "", "probing: {timeout: 5}", None),
        ("", "", "probing: {timeout: 6, enabled: false}", None),
        ("", "", "probing: {timeout: 6}, breaker: {enabled: false}", None),
    ],
)  # fmt: skip
def test_a_probe_longer_than_the_pause(
    warnings: Warn, route: str, target: str, defaults: str, wanted: str | None
) -> None:
    told = warnings(written(route, target, defaults))
    assert told == ([f"{wanted}, so the breaker may be half open before it is done"] if wanted else [])


@pytest.mark.parametrize(
    ("shedding", "wanted"),
    [
        ("{queue: {timeout: 601}}", "timeout (601 s) is longer than any total (600 s), so it could never act"),
        ("{queue: {timeout: 600}}", None),
        ("{queue: {timeout: 601}}, defaults: {timeouts: {total: 700}}", None),
        ("{queue: {length: 0}}", None),
        ("{enabled: false}", None),
    ],
)
def test_a_queue_that_outlasts_every_call(
    loaded: Callable[..., Any], complaints: Complain, shedding: str, wanted: str | None
) -> None:
    text = f"{{providers: [{{name: a, kind: echo}}], routes: [{{model: m, targets: [{{provider: a}}]}}],\nshedding: {shedding}}}"
    if wanted is None:
        assert loaded(text).settings
    else:
        assert complaints(text) == [f"breakwater.yaml:2: shedding.queue.timeout: {wanted}"]


def test_a_queue_that_outlasts_some_calls_is_fine(loaded: Callable[..., Any]) -> None:
    short = (
        "{model: m, targets: [{provider: a}], timeouts: {total: 1, first_token: 1, idle: 1, attempt: 1, connect: 1}}"
    )
    other = "{model: n, targets: [{provider: a}]}"
    assert loaded(f"providers: [{{name: a, kind: echo}}]\nroutes: [{short}]").settings
    text = f"providers: [{{name: a, kind: echo}}]\nroutes: [{short}, {other}]\nshedding: {{queue: {{timeout: 3}}}}"
    assert loaded(text).settings


def routes(one: str, other: str, defaults: str = "") -> str:
    """Two routes over alpha; what they say stands on lines 4 and 7, their targets on lines 6 and 9."""
    return f"""\
providers:
- {{name: alpha, kind: echo}}
routes:
- {{model: m, {one}
  targets: [
  {{provider: alpha, model: x}}]}}
- {{model: n, {other}
  targets: [
  {{provider: alpha, model: x}}]}}
{defaults}"""


ALIKE = "give it in `defaults`, or alike in both"


@pytest.mark.parametrize(
    ("one", "other", "defaults", "wanted"),
    [
        ("", "", "", []),
        ("", "breaker: {window: 30},", "", []),
        ("breaker: {window: 60},", "breaker: {window: 60},", "", []),
        ("breaker: {max_ejected: 0.2},", "breaker: {max_ejected: 1},", "", []),
        ("timeouts: {idle: 10},", "strategy: weighted, retry: {max_attempts: 2},", "", []),
        ("retry: {budget: {enabled: false, ratio: 0.5}},", "retry: {budget: {ratio: 0.2}},", "", []),
        ("retry: {throttle: {max_tokens: 5}},", "retry: {throttle: {enabled: true}},", "", []),
        ("retry: {concurrency: {min: 5}},", "", "", []),
        (
            "",
            "breaker: {window: 60},",
            "",
            [f'7: routes[1].breaker.window: "alpha/x" has one `breaker` for all routes, but window is 60 here and 30 (the default) at breakwater.yaml:6; {ALIKE}'],
        ),
        (
            "breaker: {enabled: false},",
            "",
            "defaults: {breaker: {enabled: true}}",
            [f'9: routes[1].targets[0]: "alpha/x" has one `breaker` for all routes, but enabled is true here and false at breakwater.yaml:4; {ALIKE}'],
        ),
        (
            "concurrency: {initial: 5},",
            "concurrency: {algorithm: gradient},",
            "",
            [
                f'7: routes[1].concurrency.algorithm: "alpha/x" has one `concurrency` for all routes, but algorithm is gradient here and auto (the default) at breakwater.yaml:6; {ALIKE}',
                f'9: routes[1].targets[0]: "alpha/x" has one `concurrency` for all routes, but initial is null (the default) here and 5 at breakwater.yaml:4; {ALIKE}',
            ],
        ),
        (
            "throttle: {threshold: 0.9},",
            "throttle: {threshold: 0.8}, probing: {idle: 10},",
            "",
            [
                f'7: routes[1].probing.idle: "alpha/x" has one `probing` for all routes, but idle is 10 here and null (the default) at breakwater.yaml:6; {ALIKE}',
                f'7: routes[1].throttle.threshold: "alpha/x" has one `throttle` for all routes, but threshold is 0.8 here and 0.9 at breakwater.yaml:4; {ALIKE}',
            ],
        ),
        (
            "",
            "retry: {budget: {ratio: 0.2}},",
            "",
            [f'7: routes[1].retry.budget.ratio: "alpha/x" has one `retry.budget` for all routes, but ratio is 0.2 here and 0.1 (the default) at breakwater.yaml:6; {ALIKE}'],
        ),
        (
            "retry: {throttle: {enabled: true, max_tokens: 5}},",
            "retry: {throttle: {enabled: true}},",
            "",
            [f'9: routes[1].targets[0]: "alpha/x" has one `retry.throttle` for all routes, but max_tokens is 10 (the default) here and 5 at breakwater.yaml:4; {ALIKE}'],
        ),
        ("breaker: {window: x},", "breaker: {window: 60},", "", ["4: routes[0].breaker.window: must be a number"]),
    ],
)  # fmt: skip
def test_a_target_has_one_breaker(
    loaded: Callable[..., Any], complaints: Complain, one: str, other: str, defaults: str, wanted: list[str]
) -> None:
    text = routes(one, other, defaults)
    if wanted:
        assert complaints(text) == [f"breakwater.yaml:{line}" for line in wanted]
    else:
        assert loaded(text).settings


def test_other_models_and_other_providers_are_other_targets(loaded: Callable[..., Any], complaints: Complain) -> None:
    text = routes("", "breaker: {window: 60},")
    first = text.replace("{provider: alpha, model: x}", "{provider: alpha, model: y}", 1)
    assert loaded(first).settings
    assert loaded(text.replace("{provider: alpha, model: x}", "{provider: alpha}", 1)).settings
    assert loaded(text.replace(", model: x}", "}")).settings  # alpha/m and alpha/n


def test_a_target_without_a_model_has_its_routes(complaints: Complain) -> None:
    text = routes("", "breaker: {window: 60},").replace("alpha, model: x", "alpha, model: n", 1)
    (complaint,) = complaints(text.replace(", model: x}", "}"))
    assert '"alpha/n" has one `breaker`' in complaint


def test_what_is_no_target_of_two_routes_is_not_compared(complaints: Complain) -> None:
    unread = routes("", "breaker: {window: 60},").replace("provider: alpha", "provider: 5")
    assert [line.split(": ")[1] for line in complaints(unread)] == [
        "routes[0].targets[0].provider",
        "routes[1].targets[0].provider",
    ]
    unnamed = routes("", "breaker: {window: 60},").replace("model: m", "model: 5").replace("model: n", "model: 6")
    assert [line.split(": ")[1] for line in complaints(unnamed.replace(", model: x}", "}"))] == [
        "routes[0].model",
        "routes[1].model",
    ]
    twice = written("", "", "").replace("alpha}\n", "alpha}\n  - {provider: alpha, breaker: {window: 60}}\n")
    assert complaints(twice) == [
        'breakwater.yaml:8: routes[0].targets[1]: a second target "alpha/m"; the first is at breakwater.yaml:7'
    ]


def test_one_finding_for_one_setting(complaints: Complain) -> None:
    text = routes("", "breaker: {window: 60},").replace(
        "{provider: alpha, model: x}", "{provider: alpha, model: x}, {provider: alpha, model: y}"
    )
    assert len(complaints(text)) == 1
