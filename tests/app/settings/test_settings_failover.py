"""Whether another attempt can help: tiers that no attempt reaches, budgets that allow no retry, hedges that never start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Complain = Callable[..., list[str]]
Warn = Callable[..., list[str]]
PROVIDERS = "providers:\n- {name: alpha, kind: echo}\n- {name: beta, kind: echo}\nroutes:\n"  # lines 1 to 4
BOTH = "targets: [{provider: alpha}, {provider: beta}]"
TIERS = "targets: [{provider: alpha}, {provider: beta, tier: 1}]"
THREE = "{provider: alpha}, {provider: alpha, model: x}, {provider: alpha, model: y}"
MANY = ", ".join(f"{{provider: alpha, model: m{number}}}" for number in range(10))
NO_BREAKERS = {"BREAKWATER_DEFAULTS__BREAKER__ENABLED": "false"}

# line and key, model, attempts, targets before, tier, advice
STARVED = [
    (f"- {{model: m, {TIERS}}}\ndefaults:\n  retry: {{max_attempts: 1}}", [("7: defaults.retry.max_attempts", "m", 1, 1, 1, "allow at least 2")]),
    (f"- model: m\n  {TIERS}\n  retry:\n    max_attempts: 1", [("8: routes[0].retry.max_attempts", "m", 1, 1, 1, "allow at least 2")]),
    (
        (
            f"- {{model: m, {TIERS}}}\n- {{model: n, targets: [{{provider: alpha}}], retry: {{max_attempts: 1}}}}\n"
            f"- {{model: o, {TIERS}, retry: {{max_attempts: 2}}}}\n- {{model: p, {TIERS}}}\ndefaults: {{retry: {{max_attempts: 1}}}}"
        ),
        [
            ("9: defaults.retry.max_attempts", "m", 1, 1, 1, "allow at least 2"),
            ("9: defaults.retry.max_attempts", "p", 1, 1, 1, "allow at least 2"),
        ],
    ),
    (f"- {{model: m, {BOTH}, retry: {{max_attempts: 2}}}}", []),
    (f"- {{model: m, {TIERS}, retry: {{max_attempts: 2}}}}\ndefaults: {{retry: {{max_attempts: 1}}}}", []),
    ("- {model: m, targets: [{provider: alpha}, {provider: beta, tier: 1, weight: 0}], retry: {max_attempts: 1}}", []),
    ("- {model: m, targets: [{provider: alpha, weight: 0}, {provider: beta, tier: 1}], retry: {max_attempts: 1}}", []),
    (f"- model: m\n  targets: [{THREE},\n  {{provider: beta, tier: 1}}]", [("7: routes[0].targets[3]", "m", 3, 3, 1, "allow at least 4")]),
    (
        "- model: m\n  targets: [{provider: alpha, tier: 2}, {provider: beta, tier: 7},\n  {provider: beta, model: x, tier: 5}]\n  retry:\n    max_attempts: 2",
        [("9: routes[0].retry.max_attempts", "m", 2, 2, 7, "allow at least 3")],
    ),
    (
        f"- model: m\n  targets: [{MANY}, {{provider: beta, tier: 1}}]\n  retry: {{max_attempts: 10}}",
        [("7: routes[0].retry.max_attempts", "m", 10, 10, 1, "10 are the most, so use fewer")],
    ),
    (f"- {{model: m, targets: [{THREE}, {{provider: beta, tier: 1}}], retry: {{max_attempts: 4}}}}", []),
    ("- {model: m, targets: [{provider: alpha, tier: 1}], retry: {max_attempts: 1}}\n- {model: n, targets: [{provider: beta}]}", []),
]  # fmt: skip


def counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


@pytest.mark.parametrize(("rest", "starved"), STARVED)
def test_without_breakers_a_starved_tier_is_an_error(
    loaded: Callable[..., Any], complaints: Complain, rest: str, starved: list[Any]
) -> None:
    text = f"{PROVIDERS}{rest}"
    if not starved:
        assert loaded(text, NO_BREAKERS).settings
        return
    assert complaints(text, NO_BREAKERS) == [
        (
            f"breakwater.yaml:{place}: failover cannot trigger: {counted(attempts, 'attempt')}, but the route for model "
            f'"{model}" has {counted(before, "target")} before tier {tier}; {advice}'
        )
        for place, model, attempts, before, tier, advice in starved
    ]


@pytest.mark.parametrize(("rest", "starved"), STARVED)
def test_with_breakers_it_is_a_warning(warnings: Warn, rest: str, starved: list[Any]) -> None:
    """A target whose breaker is open costs no attempt."""
    assert warnings(f"{PROVIDERS}{rest}") == [
        (
            f"{place}: tier {tier} is reached only while breakers before it are open: {counted(attempts, 'attempt')}, "
            f'and the route for model "{model}" has {counted(before, "target")} before it; {advice}'
        )
        for place, model, attempts, before, tier, advice in starved
    ]


def test_breakers_that_are_off_decide_which_it_is(
    complaints: Complain, warnings: Warn, loaded: Callable[..., Any]
) -> None:
    def route(*disabled: bool, attempts: int) -> str:
        rows = [
            f"  - {{provider: alpha, model: m{number}, breaker: {{enabled: {str(not off).lower()}}}}}"
            for number, off in enumerate(disabled)
        ]
        retry = f"  retry: {{max_attempts: {attempts}}}"
        return "\n".join([f"{PROVIDERS}- model: m", "  targets:", *rows, "  - {provider: beta, tier: 1}", retry])

    assert "failover cannot trigger" in complaints(route(True, True, attempts=2))[0]
    assert "failover cannot trigger" in complaints(route(True, True, False, attempts=2))[0]
    assert "only while breakers" in warnings(route(True, False, attempts=2))[0]
    assert warnings(route(True, True, attempts=3)) == []
    # The last tier's own breaker has no part in it, and a route may turn its own on again.
    assert "failover cannot trigger" in complaints(route(True, attempts=1))[0]
    on_again = f"{PROVIDERS}- {{model: m, {TIERS}, retry: {{max_attempts: 1}}, breaker: {{enabled: true}}}}"
    assert loaded(on_again, NO_BREAKERS).settings


ALONE = 'with 1 attempt, none of the 2 targets of the route for model "m" stands in for another that fails'


@pytest.mark.parametrize(
    ("rest", "wanted"),
    [
        (f"- {{model: m, {BOTH}, retry: {{max_attempts: 1}}}}", [f"5: routes[0].retry.max_attempts: {ALONE}"]),
        (f"- {{model: m, {BOTH}}}\ndefaults:\n  retry: {{max_attempts: 1}}", [f"7: defaults.retry.max_attempts: {ALONE}"]),
        (f"- {{model: m, {BOTH}, retry: {{max_attempts: 2}}}}", []),
        (f"- {{model: m, {BOTH}, retry: {{max_attempts: 2}}}}\ndefaults: {{retry: {{max_attempts: 1}}}}", []),
        ("- {model: m, targets: [{provider: alpha}, {provider: beta, weight: 0}], retry: {max_attempts: 1}}", []),
    ],
)  # fmt: skip
def test_targets_that_never_stand_in(warnings: Warn, rest: str, wanted: list[str]) -> None:
    assert warnings(f"{PROVIDERS}{rest}") == wanted


NEVER_AGAIN = "no call could ever be tried again"
OR_ONE = "allow some retries, or say `max_attempts: 1`"
NO_BUDGET = f"{NEVER_AGAIN}: ratio, min_per_second and burst are 0; {OR_ONE}"
NO_ROOM = f"{NEVER_AGAIN}: share and min are 0; {OR_ONE}"


@pytest.mark.parametrize(
    ("retry", "defaults", "wanted"),
    [
        ("budget: {ratio: 0, burst: 0}", "", f"6: routes[0].retry.budget.ratio: {NO_BUDGET}"),
        ("", "budget: {ratio: 0, burst: 0}", f"7: defaults.retry.budget.ratio: {NO_BUDGET}"),
        ("budget: {burst: 0}", "budget: {ratio: 0}", f"6: routes[0].retry.budget.burst: {NO_BUDGET}"),
        ("budget: {ratio: 0, burst: 0, min_per_second: 0.1}", "", None),
        ("budget: {ratio: 0}", "", None),
        ("budget: {burst: 0}", "", None),
        ("budget: {ratio: 0, burst: 0, enabled: false}", "", None),
        ("budget: {ratio: 0, burst: 0}, max_attempts: 1", "", None),
        ("concurrency: {share: 0, min: 0}", "", f"6: routes[0].retry.concurrency.share: {NO_ROOM}"),
        ("", "concurrency: {share: 0, min: 0}", f"7: defaults.retry.concurrency.share: {NO_ROOM}"),
        ("concurrency: {share: 0}", "", None),
        ("concurrency: {min: 0}", "", None),
        ("concurrency: {share: 0, min: 0, enabled: false}", "", None),
    ],
)
def test_budgets_that_allow_nothing(
    loaded: Callable[..., Any], complaints: Complain, retry: str, defaults: str, wanted: str | None
) -> None:
    route = f"- model: m\n  retry: {{{retry}}}\ndefaults: {{retry: {{{defaults}}}}}\n"
    text = f"{PROVIDERS.replace('- {name: beta, kind: echo}', '')}{route}".replace(
        "- model: m", "- model: m\n  targets: [{provider: alpha}]", 1
    ).replace("\n\n", "\n")
    if wanted is None:
        assert loaded(text).settings
    else:
        assert complaints(text) == [f"breakwater.yaml:{wanted}"]


ONE = "targets: [{provider: alpha}, {provider: beta, weight: 0}]"
SECOND = "a hedge is a second attempt, and max_attempts is 1 at"
OTHER = "a hedge goes to another target, and the route has 1, so it could never act; add a target"
DELAY = "must be seconds, above 0, or a quantile from p50 to p99.9, such as p95"


@pytest.mark.parametrize(
    ("route", "wanted"),
    [
        (f"{BOTH}\n  hedge: {{}}", []),
        (f"{TIERS}\n  hedge: {{after: p50, max_share: 1}}", []),
        (f"{BOTH}\n  hedge: {{after: 29.9}}", []),
        (f"{BOTH}\n  hedge: null\n  retry: {{max_attempts: 1}}", []),
        (
            f"{BOTH}\n  hedge: {{}}\n  retry:\n    budget: {{enabled: false}}",
            ["7: routes[0].hedge: a hedge needs a budget, and retry.budget is off at breakwater.yaml:9; turn it on"],
        ),
        (
            f"{BOTH}\n  hedge: {{}}\ndefaults: {{retry: {{budget: {{enabled: false}}}}}}",
            ["7: routes[0].hedge: a hedge needs a budget, and retry.budget is off at breakwater.yaml:8; turn it on"],
        ),
        (
            f"{BOTH}\n  hedge: {{}}\n  retry: {{max_attempts: 1}}",
            [f"7: routes[0].hedge: {SECOND} breakwater.yaml:8, so it could never act; allow 2"],
        ),
        (f"{ONE}\n  hedge: {{}}", [f"7: routes[0].hedge: {OTHER}"]),
        (
            f"{ONE}\n  hedge: {{}}\n  retry: {{max_attempts: 1}}",
            [f"7: routes[0].hedge: {SECOND} breakwater.yaml:8, so it could never act; allow 2"],
        ),
        (f"{ONE}\n  hedge: 5", ["7: routes[0].hedge: must be a mapping of keys to values"]),
        (
            f"{BOTH}\n  hedge:\n    after: 30",
            ["8: routes[0].hedge.after: after (30 s) is not shorter than first_token (30 s), so it could never act"],
        ),
        (
            f"{BOTH}\n  timeouts: {{first_token: 9}}\n  hedge: {{after: 9.5}}",
            ["8: routes[0].hedge.after: after (9.5 s) is not shorter than first_token (9 s), so it could never act"],
        ),
        ("targets: [{provider: alpha, timeouts: {first_token: 9}}, {provider: beta}]\n  hedge: {after: 9}", []),
        *(
            (f"{BOTH}\n  hedge: {{after: {after}}}", [f"7: routes[0].hedge.after: {DELAY}"])
            for after in ("0", "-1", "p49", "p100", "p99.95", "P95", "95%", "later", "null", ".inf", ".nan", "[1]", "86401")
        ),
        (
            f"{BOTH}\n  hedge: {{after: yes}}",
            ["7: routes[0].hedge.after: must be a number, not true or false (YAML reads yes, no, on and off as these)"],
        ),
        (f"{BOTH}\n  hedge: {{max_share: 0}}", ["7: routes[0].hedge.max_share: must be greater than 0"]),
        (f"{BOTH}\n  hedge: {{max_share: 1.1}}", ["7: routes[0].hedge.max_share: must be less than or equal to 1"]),
        (f"{BOTH}\n  hedge: {{share: 1}}", ['7: routes[0].hedge.share: unknown key; did you mean "max_share"?']),
        (f"{BOTH}\n  hedge: {{after: 99}}\n  timeouts: {{first_token: x}}", ["8: routes[0].timeouts.first_token: must be a number"]),
    ],
)  # fmt: skip
def test_a_hedge(loaded: Callable[..., Any], complaints: Complain, route: str, wanted: list[str]) -> None:
    text = f"{PROVIDERS}- model: m\n  {route}\n"
    if wanted:
        assert complaints(text) == [f"breakwater.yaml:{line}" for line in wanted]
    else:
        assert loaded(text).settings


@pytest.mark.parametrize(
    ("after", "wanted"), [("p95", "p95"), ("p99.9", "p99.9"), ("'1.5'", 1.5), ("2", 2.0), ("1e-3", 0.001)]
)
def test_when_a_hedge_starts(loaded: Callable[..., Any], after: str, wanted: object) -> None:
    settings = loaded(f"{PROVIDERS}- {{model: m, {BOTH}, hedge: {{after: {after}}}}}").settings
    assert settings.routes[0].hedge.after == wanted
