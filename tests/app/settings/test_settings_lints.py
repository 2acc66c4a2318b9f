"""What is allowed and probably not meant; and that nothing is said of what is fine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings import Examined, examine

Warnings = Callable[..., list[str]]
HTTP = "kind: openai-compatible, base_url"


ECHOES = "providers:\n- {name: a, kind: echo}\n- {name: b, kind: echo}\n- {name: c, kind: echo}\nroutes:\n"
TIERS = "targets: [{provider: a}, {provider: b}, {provider: c, tier: 1}]"


def hangs(what: str, phase: str, total: str) -> str:
    return f"a {what} that hangs never fails over: {phase} leaves nothing of total ({total} s)"


STREAM_20 = hangs("stream", "first_token (30 s)", "20")
PLAIN_20 = hangs("plain request", "attempt (300 s)", "20")
NEVER = "is never reached if the targets before it hang: first_token adds up to"


@pytest.mark.parametrize(
    ("rest", "wanted"),
    [
        (f"- {{model: m, {TIERS}}}", []),
        (f"- {{model: m, {TIERS}}}\ndefaults:\n  timeouts: {{total: 301}}", []),
        (
            f"- {{model: m, {TIERS}}}\ndefaults:\n  timeouts: {{total: 300}}",
            [f"8: defaults.timeouts.total: {hangs('plain request', 'attempt (300 s)', '300')}"],
        ),
        (
            f"- {{model: m, {TIERS}}}\ndefaults: {{timeouts: {{attempt: 600}}}}",
            [f"6: routes[0]: {hangs('plain request', 'attempt (600 s)', '600')}"],
        ),
        (
            f"- model: m\n  {TIERS}\n  timeouts: {{total: 20}}",
            [f"8: routes[0].timeouts.total: {PLAIN_20}", f"8: routes[0].timeouts.total: {STREAM_20}"],
        ),
        (f"- {{model: m, targets: [{{provider: a}}]}}\n- {{model: n, {TIERS}, timeouts: {{total: 500}}}}\ndefaults: {{timeouts: {{total: 20}}}}", []),
        (f"- model: m\n  {TIERS}\n  timeouts: {{total: 61, attempt: 9}}", []),
        (
            f"- model: m\n  {TIERS}\n  timeouts: {{total: 60, attempt: 9}}",
            [f"8: routes[0].timeouts.total: tier 1 {NEVER} 60 s, total is 60 s"],
        ),
        (
            f"- model: m\n  timeouts: {{total: 60, attempt: 9}}\n  {TIERS.replace('b}', 'b, timeouts: {first_token: 29}}')}",
            [],
        ),
        (
            f"- model: m\n  timeouts: {{total: 60, attempt: 60}}\n  {TIERS.replace('b}', 'b, timeouts: {attempt: 59}}')}",
            [f"7: routes[0].timeouts.total: tier 1 {NEVER} 60 s, total is 60 s"],
        ),
        (
            "- model: m\n  timeouts: {total: 50, attempt: 9}\n  targets: [{provider: a, tier: 2}, {provider: b, tier: 5}, {provider: c, tier: 7}]",
            [f"7: routes[0].timeouts.total: tier 7 {NEVER} 60 s, total is 50 s"],
        ),
        (f"- model: m\n  timeouts: {{total: 9}}\n  retry: {{max_attempts: 1}}\n  targets: [{{provider: a}}]\n- {{model: n, {TIERS}}}", []),
    ],
)  # fmt: skip
def test_no_time_to_fail_over(warnings: Warnings, rest: str, wanted: list[str]) -> None:
    assert warnings(f"{ECHOES}{rest}") == wanted


def test_an_error_is_told_without_warnings(examined: Callable[..., Examined]) -> None:
    found = examined(f"{ECHOES}- {{model: m, {TIERS}, retry: {{max_attempts: 1}}}}\nsever: 1")
    assert found.loaded is None
    assert [problem.key for problem in found.errors] == ["sever"]
    assert found.warnings == ()


def served_by(*providers: str) -> str:
    """A configuration whose providers a, b, … stand from line 2 on, and one route over all of them."""
    names = "abcdef"[: len(providers)]
    lines = [f"- {{name: {name}, {options}}}" for name, options in zip(names, providers, strict=True)]
    targets = ", ".join(f"{{provider: {name}}}" for name in names)
    return "\n".join(["providers:", *lines, "routes:", f"- {{model: m, targets: [{targets}]}}"])


def twin(line: int) -> str:
    return f"the same server, model and key as the target at breakwater.yaml:{line}: what fails there fails here too"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (f"{HTTP}: http://h/v1", f"{HTTP}: http://h/v1", True),
        (f"{HTTP}: http://h/v1", f"{HTTP}: http://H:80/v1/", True),
        (f"{HTTP}: https://h.com/v1", f"{HTTP}: https://h.com:443/v1", True),
        (f"{HTTP}: http://h/v1", "kind: vllm, base_url: http://h/v1", True),
        ("kind: openai, api_key: '${KEY}'", "kind: openai, api_key: '${KEY}'", True),
        ("kind: openai, api_key: '${KEY}'", "kind: openai, api_key: '${OTHER}'", False),
        (f"{HTTP}: http://h/v1", f"{HTTP}: http://h/v1, headers: {{x-team: blue}}", False),
        (f"{HTTP}: http://h/v1", f"{HTTP}: http://h:81/v1", False),
        (f"{HTTP}: http://h/v1", f"{HTTP}: http://i/v1", False),
        (f"{HTTP}: http://h/v1", f"{HTTP}: http://h/x/v1", False),
        ("kind: echo", "kind: echo", False),
        ("kind: mock", "kind: mock", False),
    ],
)
def test_failover_to_the_same_server(warnings: Warnings, one: str, other: str, same: bool) -> None:
    text = served_by(one, other).replace(", {provider: b", ",\n  {provider: b")
    told = warnings(text, {"KEY": "sk-12345678", "OTHER": "sk-87654321"})
    assert told == ([f"6: routes[0].targets[1]: {twin(5)}"] if same else [])


@pytest.mark.parametrize(
    ("targets", "same"),
    [
        ("{provider: a, model: x}, {provider: b, model: x, tier: 1}", True),
        ("{provider: a}, {provider: b, model: m}", True),
        ("{provider: a, model: x}, {provider: b, model: y}", False),
        ("{provider: a, model: x}, {provider: b, model: x, weight: 0}", False),
    ],
)
def test_only_the_same_model_is_the_same(warnings: Warnings, targets: str, same: bool) -> None:
    text = served_by(f"{HTTP}: http://h/v1", f"{HTTP}: http://h/v1").rpartition("targets: ")[0]
    told = warnings(f"{text}targets: [{targets}]}}")
    assert told == ([f"5: routes[0].targets[1]: {twin(5)}"] if same else [])


SECRET = "stands here in plain text; write"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("kind: openai, api_key: sk-hush-hush", f"api_key: a secret {SECRET} ${{A_API_KEY}} and set it in the environment"),
        ("kind: openai, api_key: '${KEY:-sk-hush-hush}'", f"api_key: a secret {SECRET} ${{A_API_KEY}} and set it in the environment"),
        ("kind: openai, api_key: sk-$$hush-hush", f"api_key: a secret {SECRET} ${{A_API_KEY}} and set it in the environment"),
        *(
            (
                f"kind: openai, headers: {{{header}: hush-hush}}",
                f"headers.{header}: what looks like a secret {SECRET} ${{A_{header.upper().replace('-', '_')}}} and set it in the environment",
            )
            for header in ("Authorization", "x-api-key", "API-Key", "X-Auth", "x-team-token", "Cookie", "X-Client-Secret")
        ),
        ("kind: openai, api_key: '${KEY}'", None),
        ("kind: openai, api_key: ${KEY}", None),
        ("kind: openai, api_key: '${KEY:-}'", None),
        ("kind: openai, api_key: '${NONE:-}'", None),
        ("kind: openai, headers: {Authorization: 'Basic ${KEY}'}", None),
        ("kind: openai, headers: {x-team: blue-green-red}", None),
        ("kind: openai, headers: {x-api-key: short}", None),
        ("kind: openai, api_key: unused", None),
        ("kind: openai, api_key: null", None),
        ("kind: openai", None),
        ("kind: echo", None),
    ],
)  # fmt: skip
def test_a_secret_in_plain_text(
    examined: Callable[..., Examined], warnings: Warnings, options: str, wanted: str | None
) -> None:
    text, environ = served_by(options), {"KEY": "sk-hush-hush-outside"}
    assert warnings(text, environ) == ([f"2: providers[0].{wanted}"] if wanted else [])
    assert "hush" not in repr(examined(text, environ).warnings)


def test_an_admin_token_in_plain_text(warnings: Warnings) -> None:
    text = f"{served_by('kind: echo')}\nadmin: {{token: "
    assert warnings(f"{text}hush-hush}}") == [
        f"5: admin.token: a secret {SECRET} ${{ADMIN_TOKEN}} and set it in the environment"
    ]
    assert warnings(f"{text}${{T}}}}", {"T": "hush-hush"}) == []
    assert warnings(f"{text}null}}", {"BREAKWATER_ADMIN__TOKEN": "hush-hush"}) == []


def test_a_secret_from_the_environment_is_no_concern(warnings: Warnings) -> None:
    text = served_by("kind: openai")
    assert warnings(text, {"BREAKWATER_PROVIDERS__0__API_KEY": "sk-hush-hush"}) == []
    whole = '[{"name": "a", "kind": "openai", "api_key": "sk-hush-hush"}]'
    assert warnings(text, {"BREAKWATER_PROVIDERS": whole}) == []
    over = served_by("kind: openai, api_key: sk-hush-hush")
    assert warnings(over, {"BREAKWATER_PROVIDERS__0__API_KEY": "sk-other-other"}) == []


def test_a_secret_behind_an_alias_is_seen_where_it_is_used(warnings: Warnings) -> None:
    text = served_by("kind: openai, api_key: &key sk-hush-hush", "kind: vllm, api_key: *key")
    assert [line.split(": a secret")[0] for line in warnings(text)] == [
        "2: providers[0].api_key",
        "3: providers[1].api_key",
    ]
    text = served_by("kind: openai, api_key: &key '${KEY}'", "kind: vllm, api_key: *key")
    assert warnings(text, {"KEY": "sk-hush-hush"}) == []


def ends(endpoint: str, base: str) -> str:
    return f'ends in the path of an endpoint, which is added to it: {endpoint}{endpoint}; did you mean "{base}"?'


BARE = "has no path, and most servers answer below /v1; did you mean"


@pytest.mark.parametrize(
    ("urls", "wanted"),
    [
        (["http://h/v1/chat/completions"], [f"2: providers[0].base_url: {ends('/chat/completions', 'http://h/v1')}"]),
        (["http://h/v1/completions/"], [f"2: providers[0].base_url: {ends('/completions', 'http://h/v1')}"]),
        (["http://h/v1/embeddings"], [f"2: providers[0].base_url: {ends('/embeddings', 'http://h/v1')}"]),
        (["http://h/v1/responses"], [f"2: providers[0].base_url: {ends('/responses', 'http://h/v1')}"]),
        (["http://h/v1/models"], [f"2: providers[0].base_url: {ends('/models', 'http://h/v1')}"]),
        (["http://h:8000"], [f'2: providers[0].base_url: {BARE} "http://h:8000/v1"?']),
        (["http://h/v1", "http://i/"], [f'3: providers[1].base_url: {BARE} "http://i/v1"?']),
        (["http://h", "http://i"], []),
        (["http://h/v1", "http://i/api"], []),
        (["http://h/v1", "https://i.com/v1beta/openai", "http://j/v3/"], []),
        (["http://models/v1"], []),
    ],
)
def test_a_base_url_that_looks_odd(warnings: Warnings, urls: list[str], wanted: list[str]) -> None:
    assert warnings(served_by(*(f"{HTTP}: '{url}'" for url in urls))) == wanted


def test_the_built_in_configuration_is_beyond_doubt(tmp_path: Path) -> None:
    found = examine(None, {}, tmp_path)
    assert found.loaded is not None
    assert found.warnings == ()
