"""A fault as it is asked for: the same keys in the admin API, a scenario and a signed header, and what is said of wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.settings.faults import NUMBERS, FaultSettings, asked_of, rule_of, targets_of
from providers.faults import FAULTS
from providers.faults.http_5xx import Http5xx
from providers.faults.slow_ttft import SlowTtft
from providers.law import Law
from router.chaos import FaultRefused, Guard, Rule

KNOWN = ("openai/gpt", "openai/mini", "vllm/llama", "open/x")
MODELS = ("assistant", "coder")
LEAST: dict[str, Any] = {"kind": "http_5xx", "target": "vllm", "ttl": 10}


def ruled(**more: Any) -> Rule:
    return rule_of(asked_of(LEAST | more), "f1", KNOWN, MODELS)


def test_the_least_that_can_be_asked() -> None:
    rule = ruled()
    assert (rule.id, rule.kind, rule.targets, rule.ttl) == ("f1", "http_5xx", ("vllm/llama",), 10)
    assert (rule.share, rule.per, rule.seed, rule.route, rule.max_active, rule.dead_man) == (
        1,
        "attempt",
        0,
        *[None] * 3,
    )
    assert (rule.guard, rule.streams, rule.reason) == (None, False, "")
    assert rule.fault.statuses == [500, 502, 503, 504]  # type: ignore[union-attr]


def test_all_that_can_be_asked() -> None:
    rule = ruled(
        target=["openai", "vllm/llama"],
        share=0.25,
        per="session",
        seed=7,
        route="coder",
        max_active=3,
        dead_man=5,
        guard={"availability": 0.9, "control": 0.99, "window": 60, "min_calls": 5},
        reason="drill 7",
        statuses=[503],
        retry_after=2,
    )
    assert rule.targets == ("openai/gpt", "openai/mini", "vllm/llama")
    assert (rule.share, rule.per, rule.seed, rule.route, rule.max_active) == (0.25, "session", 7, "coder", 3)
    assert (rule.dead_man, rule.guard, rule.reason) == (5, Guard(0.9, 0.99, 60, 5), "drill 7")
    assert isinstance(rule.fault, Http5xx)
    assert (rule.fault.statuses, rule.fault.retry_after) == ([503], 2)


@pytest.mark.parametrize("kind", FAULTS)
def test_every_kind_can_be_asked_for_by_name_and_by_number(kind: str) -> None:
    row = FAULTS[kind]
    rule = ruled(kind=kind)
    assert isinstance(rule.fault, row.fault)
    assert (rule.share, rule.per, rule.streams) == (row.share, row.per, row.streams)
    assert asked_of(LEAST | {"kind": row.number}).kind == asked_of(LEAST | {"kind": row.number.lower()}).kind == kind


def test_the_numbers_are_those_of_the_catalogue() -> None:
    assert list(NUMBERS) == [f"F{number:02}" for number in range(1, 25)]


def test_each_that_acts_has_a_state_of_its_own() -> None:
    asked = asked_of(LEAST)
    assert asked_of(LEAST).knobs is not asked.knobs


def test_a_knob_may_be_a_distribution() -> None:
    rule = ruled(kind="slow_ttft", delay={"lognormal": [2, 0.5]})
    assert isinstance(rule.fault, SlowTtft)
    assert rule.fault.delay == Law("lognormal", 2, 0.5)


@pytest.mark.parametrize(
    ("named", "targets"),
    [
        (["openai"], ("openai/gpt", "openai/mini")),
        (["open"], ("open/x",)),
        (["openai/mini", "openai"], ("openai/mini", "openai/gpt")),
        (["vllm", "vllm/llama"], ("vllm/llama",)),
    ],
)
def test_a_provider_stands_for_all_its_targets(named: list[str], targets: tuple[str, ...]) -> None:
    assert targets_of(named, KNOWN) == targets


@pytest.mark.parametrize(
    ("more", "param", "words"),
    [
        ({"kind": "http_6xx"}, "kind", "unknown kind of fault; the kinds are: auth_revoked, "),
        ({"kind": "F25"}, "kind", "unknown kind of fault"),
        ({"kind": ["http_5xx"]}, "kind", "must be"),
        ({"kind": None}, "kind", "must be"),
        ({"ttl": None}, "ttl", "must be"),
        ({"ttl": 0}, "ttl", "greater than 0"),
        ({"ttl": "soon"}, "ttl", "must be a"),
        ({"ttl": True}, "ttl", "must be a number, not true or false"),
        ({"target": []}, "target", "at least 1"),
        ({"target": "openay"}, "target", "there is no target 'openay'; did you mean \"openai\"?"),
        ({"target": "q"}, "target", "known here: open, open/x, openai, openai/gpt"),
        ({"target": 7}, "target", "must be"),
        ({"share": 1.01}, "share", "must be less than or equal to 1"),
        ({"share": -0.1}, "share", "must be greater than 0"),
        ({"per": "call"}, "per", "must be 'attempt', 'request' or 'session'"),
        ({"seed": 0.5}, "seed", "must be a whole number"),
        ({"route": "codr"}, "route", "there is no route 'codr'; did you mean \"coder\"?"),
        ({"max_active": 0}, "max_active", "must be greater than or equal to 1"),
        ({"dead_man": 0.5}, "dead_man", "must be greater than or equal to 1"),
        ({"guard": {}}, "guard", "needs availability or control"),
        ({"guard": {"availability": 2}}, "guard.availability", "must be less than or equal to 1"),
        ({"guard": {"availability": 0}}, "guard.availability", "must be greater than 0"),
        ({"guard": {"availabilty": 0.9}}, "guard.availabilty", 'unknown key; did you mean "availability"?'),
        ({"guard": {"ttl": 9}}, "guard.ttl", "known here: availability, control, min_calls, window"),
        ({"knobs": {"statuses": [503]}}, "knobs", "unknown key; known here: "),
        ({"knobs": None}, "knobs", "unknown key; known here: "),
        ({"reason": "two\nlines"}, "reason", "must be printable"),
        ({"reason": "x" * 201}, "reason", "at most 200"),
        ({"id": "a b"}, "id", "characters"),
        ({"statusses": [503]}, "statusses", 'did you mean "statuses"?'),
        ({"probability": 1}, "probability", "known here: "),
        ({"statuses": [200]}, "statuses", "must be one or more numbers from 500 to 599"),
        ({"statuses": "many"}, "statuses", "must be"),
        ({"kind": "stall", "form": "cut"}, "form", "unknown key"),
        ({"kind": "truncate", "form": "cutt"}, "form", "must be 'cut', 'eof' or 'clean'"),
        ({"kind": "slow_ttft", "delay": 1, "factor": 2}, "factor", "is another way to say delay"),
        ({"kind": "slow_ttft", "delay": {"lognormal": [2]}}, "delay", ""),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(more: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(FaultRefused) as refused:
        ruled(**more)
    assert refused.value.param in (param, param and f"{param}.0")
    assert words in refused.value.message


@pytest.mark.parametrize("key", ["kind", "target", "ttl"])
def test_without_a_kind_a_target_or_a_time_there_is_no_fault(key: str) -> None:
    with pytest.raises(FaultRefused, match=r"^is missing$") as refused:
        asked_of({name: value for name, value in LEAST.items() if name != key})
    assert refused.value.param == key


def test_nothing_of_a_long_value_is_repeated() -> None:
    with pytest.raises(FaultRefused) as refused:
        ruled(target="x" * 100_000)
    assert len(refused.value.message) < 1000


def test_the_settings_of_chaos(loaded: Callable[..., Any]) -> None:
    least = "providers: [{name: e, kind: echo}]\nroutes: [{model: m, targets: [{provider: e}]}]\n"
    chaos = loaded(least).settings.chaos
    assert (chaos.enabled, chaos.max_active, chaos.max_ttl, chaos.header_faults) == (True, 0.5, 900, False)
    chaos = loaded(least + "chaos: {max_active: 20, max_ttl: 60, header_faults: true}").settings.chaos
    assert (chaos.enabled, chaos.max_active, chaos.max_ttl, chaos.header_faults) == (True, 20, 60, True)
    assert not loaded(least + "chaos: {enabled: false}").settings.chaos.enabled


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("chaos: {max_active: 0}", "chaos.max_active"),
        ("chaos: {max_ttl: -1}", "chaos.max_ttl"),
        ("chaos: {header_fault: true}", "header_faults"),
        ("chaos: yes", "chaos"),
    ],
)
def test_wrong_settings_of_chaos_are_refused(
    complaints: Callable[..., list[str]], written: str, complaint: str
) -> None:
    least = "providers: [{name: e, kind: echo}]\nroutes: [{model: m, targets: [{provider: e}]}]\n"
    (said,) = complaints(least + written)
    assert complaint in said


def test_a_fault_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        FaultSettings.model_validate(LEAST).ttl = 1
