"""Strategies that have something to compare, mirrors, and experiments whose arms can be told apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Complain = Callable[..., list[str]]
Warn = Callable[..., list[str]]
PROVIDERS = "providers:\n- {name: alpha, kind: echo}\n- {name: beta, kind: echo}\nroutes:\n"  # lines 1 to 4
BOTH = "targets: [{provider: alpha}, {provider: beta}]"
PRICED = "targets: [{provider: alpha, price: {input: 1, output: 2}}, {provider: beta, price: {input: 0, output: 0}}]"


@pytest.mark.parametrize("strategy", ["weighted", "least_busy", "latency", "cost", "affinity"])
def test_every_strategy(loaded: Callable[..., Any], strategy: str) -> None:
    assert loaded(f"{PROVIDERS}- {{model: m, strategy: {strategy}, {PRICED}}}").settings.routes[0].strategy == strategy


NO_PRICE = "no target of the route has a price to compare; give them one, such as `price: {input: 0.15, output: 0.6}`"


@pytest.mark.parametrize(
    "targets",
    [BOTH, PRICED.replace("alpha,", "alpha, weight: 0,").split(", {provider: beta")[0] + ", {provider: beta}]"],
)
def test_cost_without_a_price(complaints: Complain, targets: str) -> None:  # fmt: skip
    told = complaints(f"{PROVIDERS}- model: m\n  strategy: cost\n  {targets}")
    assert told == [f"breakwater.yaml:6: routes[0].strategy: {NO_PRICE}"]


def test_a_price_that_no_strategy_uses_is_fine(warnings: Warn) -> None:
    assert warnings(f"{PROVIDERS}- {{model: m, {PRICED}}}") == []


@pytest.mark.parametrize(
    ("route", "wanted"),
    [
        (f"strategy: cost\n  {PRICED}", []),
        (
            f"strategy: cost\n  {PRICED.replace(', price: {input: 0, output: 0}', '')}",
            ["7: routes[0].targets[1]: has no price, and the strategy of its route is `cost`"],
        ),
        (
            "strategy: latency\n  targets: [{provider: alpha}, {provider: beta, tier: 1}]",
            [
                "6: routes[0].strategy: `latency` chooses among the targets of a tier, and each tier of this route has one"
            ],
        ),
        (
            "strategy: affinity\n  targets: [{provider: alpha}, {provider: beta, weight: 0}]",
            [
                "6: routes[0].strategy: `affinity` chooses among the targets of a tier, and each tier of this route has one"
            ],
        ),
        (f"strategy: least_busy\n  {BOTH}", []),
        ("strategy: weighted\n  targets: [{provider: alpha}, {provider: beta, tier: 1}]", []),
    ],
)
def test_a_strategy_with_too_little(warnings: Warn, route: str, wanted: list[str]) -> None:
    assert warnings(f"{PROVIDERS}- model: m\n  {route}") == wanted


@pytest.mark.parametrize(
    ("mirror", "wanted"),
    [
        ("{provider: beta, model: x, share: 0.05}", []),
        ("{provider: beta, share: 1}", []),
        ("null", ['3: providers[1]: no route uses the provider "beta"; add a target for it, or remove it']),
        ("{provider: beta, share: 0}", ["6: routes[0].mirror.share: must be greater than 0"]),
        ("{provider: beta, share: 1.1}", ["6: routes[0].mirror.share: must be less than or equal to 1"]),
        ("{provider: beta, share: 5%}", ["6: routes[0].mirror.share: must be a number"]),
        ("{provider: beta}", ["6: routes[0].mirror.share: is missing"]),
        ("{share: 0.1}", ["6: routes[0].mirror.provider: is missing"]),
        ("{provider: beta, share: 0.1, model: ''}", ["6: routes[0].mirror.model: must not be empty"]),
        ("{provider: beta, share: 0.1, tier: 1}", ["6: routes[0].mirror.tier: unknown key; known here: model, provider, share"]),
        ("beta", ["6: routes[0].mirror: must be a mapping of keys to values"]),
        (
            "{provider: btea, share: 0.1}",
            [
                '3: providers[1]: no route uses the provider "beta"; add a target for it, or remove it',
                '6: routes[0].mirror.provider: unknown provider; did you mean "beta"?',
            ],
        ),
    ],
)  # fmt: skip
def test_a_mirror(loaded: Callable[..., Any], complaints: Complain, mirror: str, wanted: list[str]) -> None:
    text = f"{PROVIDERS}- model: m\n  mirror: {mirror}\n  targets: [{{provider: alpha}}]\n"
    if wanted:
        assert complaints(text) == [f"breakwater.yaml:{line}" for line in wanted]
    else:
        assert loaded(text).settings


def experiment(*arms: str, name: str = "e", rest: str = "") -> str:
    """The experiment stands on line 7, its arms from line 8 on."""
    rows = "".join(f",\n    {arm}" for arm in arms)[1:]
    return f"{PROVIDERS}- model: m\n  {BOTH}\n  experiments: [{{name: {name}, {rest} arms: [{rows}]}}]\n"


A, B = "{name: a, providers: [alpha], share: 0.9}", "{name: b, providers: [beta, alpha], share: 0.1}"
AT = "routes[0].experiments[0]"
SUM = "together they must be 1"
NAME = "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"


def test_an_experiment(loaded: Callable[..., Any]) -> None:
    settings = loaded(experiment(A, B, rest="salt: 2026, unit: request, failover: true,".replace("2026", "'2026'")))
    assert settings.settings.routes[0].experiments[0].model_dump() == {
        "name": "e",
        "arms": [
            {"name": "a", "providers": ["alpha"], "share": 0.9},
            {"name": "b", "providers": ["beta", "alpha"], "share": 0.1},
        ],
        "salt": "2026",
        "unit": "request",
        "failover": True,
    }
    plain = loaded(experiment(A, B)).settings.routes[0].experiments[0]
    assert (plain.salt, plain.unit, plain.failover) == ("", "session", False)


@pytest.mark.parametrize(
    "arms",
    [
        (A.replace("0.9", "1"), B.replace("0.1", "0")),
        (A.replace("0.9", "0.9999"), B.replace("0.1", "0.0001")),
        (A, B.replace("0.1", "0.05"), B.replace("0.1", "0.05").replace("name: b", "name: c")),
        (A.replace("0.9", "0.3"), B.replace("0.1", "0.3"), "{name: c, providers: [beta], share: 0.4}"),
        (A, A.replace("name: a", "name: aa").replace("0.9", "0.1")),
        (A.replace("0.9", "0.7"), B.replace("0.1", "0.2"), "{name: c, providers: [beta], share: 0.1}"),  # 0.99…
    ],
)
def test_arms_that_are_fine(loaded: Callable[..., Any], arms: tuple[str, ...]) -> None:
    assert loaded(experiment(*arms)).settings


@pytest.mark.parametrize(
    ("arms", "wanted"),
    [
        ((A, B.replace("0.1", "0.2")), [f"7: {AT}.arms: the shares of the arms add up to 1.1; {SUM}"]),
        ((A.replace("0.9", "0.8"), B), [f"7: {AT}.arms: the shares of the arms add up to 0.9; {SUM}"]),
        ((A, B.replace("name: b", "name: a")), [f'9: {AT}.arms[1].name: a second arm "a"; the first is at breakwater.yaml:8']),
        ((A.replace("0.9", "1"),), [f"7: {AT}.arms: needs at least two"]),
        ((), [f"7: {AT}.arms: needs at least two"]),
        ((A, B.replace("beta, alpha", "")), [f"9: {AT}.arms[1].providers: needs at least one"]),
        ((A, B.replace("[beta, alpha]", "beta")), [f"9: {AT}.arms[1].providers: must be a list"]),
        ((A, B.replace("beta, alpha", "beta, beta")), [f'9: {AT}.arms[1].providers[1]: a second provider "beta"; the first is at breakwater.yaml:9']),
        ((A, B.replace("beta, alpha", "btea")), [f'9: {AT}.arms[1].providers[0]: has no target in this route; these do: alpha, beta; did you mean "beta"?']),
        ((A, B.replace("beta, alpha", "zzz")), [f"9: {AT}.arms[1].providers[0]: has no target in this route; these do: alpha, beta"]),
        ((A.replace("0.9", "-0.1"), B), [f"8: {AT}.arms[0].share: must be greater than or equal to 0"]),
        ((A, B.replace("0.1", "1.1")), [f"9: {AT}.arms[1].share: must be less than or equal to 1"]),
        ((A, B.replace("0.1", "0.00015")), [f"9: {AT}.arms[1].share: must be in steps of 0.0001"]),
        ((A, B.replace(", share: 0.1", "")), [f"9: {AT}.arms[1].share: is missing"]),
        ((A, B.replace("name: b", "name: b/c")), [f"9: {AT}.arms[1].name: {NAME}"]),
        ((A, B.replace("name: b", "name: ''")), [f"9: {AT}.arms[1].name: {NAME}"]),
        ((A, B.replace("name: b, ", "")), [f"9: {AT}.arms[1].name: is missing"]),
        ((A, B.replace("share:", "weight: 1, share:")), [f"9: {AT}.arms[1].weight: unknown key; known here: name, providers, share"]),
        ((A, "b"), [f"9: {AT}.arms[1]: must be a mapping of keys to values"]),
    ],
)  # fmt: skip
def test_arms_that_are_not(complaints: Complain, arms: tuple[str, ...], wanted: list[str]) -> None:
    assert complaints(experiment(*arms)) == [f"breakwater.yaml:{line}" for line in wanted]


@pytest.mark.parametrize(
    ("name", "rest", "wanted"),
    [
        ("a b", "", f"{AT}.name: {NAME}"),
        ("e", "unit: user,", f"{AT}.unit: must be 'session' or 'request'"),
        ("e", "failover: maybe,", f"{AT}.failover: must be true or false"),
        ("e", "salt: 5,", f"{AT}.salt: must be text; a number or a word such as yes becomes text in quotes"),
        ("e", "slat: x,", f'{AT}.slat: unknown key; did you mean "salt"?'),
    ],
)
def test_an_experiment_that_is_not(complaints: Complain, name: str, rest: str, wanted: str) -> None:
    assert complaints(experiment(A, B, name=name, rest=rest)) == [f"breakwater.yaml:7: {wanted}"]


def test_names_are_told_apart_within_a_route(loaded: Callable[..., Any], complaints: Complain) -> None:
    one = f"{{name: e, arms: [{A}, {B}]}}"
    same = f"{PROVIDERS}- model: m\n  {BOTH}\n  experiments:\n  - {one}\n  - {one}\n"
    assert complaints(same) == [
        'breakwater.yaml:9: routes[0].experiments[1].name: a second experiment "e"; the first is at breakwater.yaml:8'
    ]
    route = f"- {{model: M, {BOTH}, experiments: [{one}]}}\n"
    assert loaded(f"{PROVIDERS}{route}{route.replace('M', 'n')}").settings


def test_what_could_not_be_read_decides_nothing(complaints: Complain) -> None:
    text = experiment(A, B.replace("beta, alpha", "btea")).replace("{provider: beta}", "{provider: 5}")
    assert [line.split(": ")[1] for line in complaints(text)] == ["routes[0].targets[1].provider"]
