"""Kinds and their options: names, types, laws, addresses, secrets; kinds of installed packages too."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from app.settings import Problem, ProviderSettings
from providers.law import Law
from providers.mock import MockOptions
from providers.openai_compatible import HttpOptions
from providers.vllm import VLLMOptions

ROUTES = "\nroutes: [{model: m, targets: [{provider: p}]}]"


def one(entry: str) -> str:
    """A configuration whose line 2 is the provider."""
    return f"providers:\n- {entry}{ROUTES}"


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ("{name: p, kind: mock}", MockOptions()),
        ("{name: p, kind: mock, ttft: 0.1, seed: 3}", MockOptions(ttft=Law("constant", 0.1), seed=3)),
        ("{name: p, kind: mock, ttft: {uniform: [1, 2]}}", MockOptions(ttft=Law("uniform", 1, 2))),
        ("{name: p, kind: mock, ttft: '0.1', capacity: '4'}", MockOptions(ttft=Law("constant", 0.1), capacity=4)),
        ("{name: p, kind: mock, ttft: {lognormal: [1e-1, '2']}}", MockOptions(ttft=Law("lognormal", 0.1, 2))),
        ("{name: p, kind: mock, capacity: null, error_rate: 1}", MockOptions(error_rate=1.0)),
        ("{name: p, kind: vllm}", VLLMOptions()),
        ("{name: p, kind: vllm, api_key: ''}", VLLMOptions()),
        ("{name: p, kind: vllm, api_key: '${NONE:-}'}", VLLMOptions()),
        ("{name: p, kind: vllm, api_key: ${KEY}}", VLLMOptions(api_key="sk-1")),
        ("{name: p, kind: vllm, base_url: 'https://[::1]:8/v1'}", VLLMOptions(base_url="https://[::1]:8/v1")),
        (
            "{name: p, kind: openai-compatible, base_url: http://h, headers: {a: b}}",
            HttpOptions("http://h", None, {"a": "b"}),
        ),
    ],
)
def test_options(loaded: Callable[..., Any], entry: str, wanted: object) -> None:
    (provider,) = loaded(one(entry), {"KEY": "sk-1\n"}).settings.providers
    assert provider.options == wanted
    assert type(provider.options) is type(wanted)


NUMBER = "must be a number, not true or false (YAML reads yes, no, on and off as these)"
NAME = "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"
TEXT = "must be text; a number or a word such as yes becomes text in quotes"
KINDS = "unknown kind; the kinds are: echo, llamacpp, mock, openai, openai-compatible, vllm"
LAW = (
    "not a distribution; allowed: a number >= 0, {lognormal: [median, sigma]}, {uniform: [low, high]}, "
    "{exponential: mean}, {normal: [mean, standard deviation], cut at 0}, {pareto: [least, alpha]}"
)
ADDRESS = "must be an address such as https://host/v1"
SCHEME = "must begin with http:// or https:// and be an address such as https://host/v1"


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ("{name: p, kind: mok}", [f'kind: {KINDS}; did you mean "mock"?']),
        ("{name: p, kind: zzz}", [f"kind: {KINDS}"]),
        ("{name: p, kind: 5}", [f"kind: {TEXT}"]),
        ("{name: p, kynd: mock}", ["kind: is missing", 'kynd: unknown key; did you mean "kind"?']),
        ("{name: p, kind: mok, seed: 1, sead: 1}", [
            f'kind: {KINDS}; did you mean "mock"?',
            'sead: unknown key; did you mean "seed"?',
        ]),
        ("{name: p, kind: mock, sede: 1}", ['sede: unknown key; did you mean "seed"?']),
        ("{name: p, kind: mock, zzz: 1}", [
            "zzz: unknown key; known here: capacity, error_rate, error_status, kind, name, seed, token_interval, tokens, ttft",
        ]),
        ("{name: p, kind: echo, zzz: 1}", ["zzz: unknown key; known here: kind, name"]),
        ("{name: p, kind: mock, options: {seed: 1}}", [
            'options: unknown key; did you mean "tokens"?',
        ]),
        ("{name: p, kind: mock, seed: 1.5}", ["seed: must be a whole number"]),
        ("{name: p, kind: mock, seed: x}", ["seed: must be a whole number"]),
        ("{name: p, kind: mock, seed: yes}", [f"seed: {NUMBER}"]),
        ("{name: p, kind: mock, capacity: on}", [f"capacity: {NUMBER}"]),
        ("{name: p, kind: mock, error_rate: no}", [f"error_rate: {NUMBER}"]),
        ("{name: p, kind: mock, error_rate: .nan}", ["error_rate: must be a finite number"]),
        ("{name: p, kind: mock, error_rate: []}", ["error_rate: must be a number"]),
        ("{name: p, kind: mock, error_rate: 1.1}", ["error_rate: must be between 0 and 1"]),
        ("{name: p, kind: mock, error_rate: 1.1, seed: x, sede: 1}", [
            "error_rate: must be between 0 and 1",
            'sede: unknown key; did you mean "seed"?',
            "seed: must be a whole number",
        ]),
        ("{name: p, kind: mock, ttft: {lognormal: 1}}", [f"ttft: {LAW}"]),
        ("{name: p, kind: mock, ttft: yes}", [f"ttft: {LAW}"]),
        ("{name: p, kind: mock, ttft: -1}", [f"ttft: {LAW}"]),
        ("{name: p, kind: mock, ttft: {uniform: [2, 1]}}", ["ttft: uniform: low is above high"]),
        ("{name: p, kind: mock, ttft: " + "9" * 400 + "}", ["ttft: a number is too large"]),
        ("{name: p, kind: openai-compatible}", ["base_url: is missing"]),
        ("{name: p, kind: vllm, api_key: 5}", [f"api_key: {TEXT}"]),
        ('{name: p, kind: vllm, api_key: "a\\nb"}', ["api_key: contains a line break or a control character"]),
        ("{name: p, kind: vllm, headers: {a: 1}}", [f"headers.a: {TEXT}"]),
        ("{name: p, kind: vllm, headers: [a]}", ["headers: must be a mapping of keys to values"]),
        *(
            (f"{{name: p, kind: vllm, base_url: '{address}'}}", [f"base_url: {ADDRESS}"])
            for address in ("ftp://h", "http://", "http:///v1", "http://h:x", "http://h:99999", "http://[::1")
        ),
        *(
            (f"{{name: p, kind: vllm, base_url: '{address}'}}", [f"base_url: {SCHEME}"])
            for address in ("", "h", "h/v1", "h:8000", "localhost:8000/v1", "//h/v1")
        ),
        ("{name: p, kind: vllm, base_url: 'http://a b'}", [f"base_url: {ADDRESS}"]),
        ("{name: p, kind: vllm, base_url: 'http://u:w@h'}", [
            "base_url: must not carry a user or password; use api_key or headers"
        ]),
        ("{name: p, kind: vllm, base_url: 'http://h/v1?a=b'}", [
            "base_url: must end where the endpoint's path begins, without ? or #"
        ]),
        ("{name: '*', kind: echo}", [f"name: {NAME}"]),
        ("{name: '', kind: echo}", [f"name: {NAME}"]),
        ("{name: a/b, kind: echo}", [f"name: {NAME}"]),
        ('{name: "a\\n", kind: echo}', [f"name: {NAME}"]),
        (f"{{name: {'a' * 65}, kind: echo}}", [f"name: {NAME}"]),
        ("{name: 5, kind: echo}", [f"name: {TEXT}"]),
        ("{kind: echo}", ["name: is missing"]),
        ("{kind: echo, nam: p}", ['nam: unknown key; did you mean "name"?', "name: is missing"]),
    ],
)  # fmt: skip
def test_wrong_options(problems: Callable[..., tuple[Problem, ...]], entry: str, wanted: list[str]) -> None:
    told = [str(problem) for problem in problems(one(entry)) if problem.key.startswith("providers")]
    assert sorted(told) == sorted(f"breakwater.yaml:2: providers[0].{message}" for message in wanted)


@pytest.mark.parametrize("entry", ["text", "[a]", "5"])
def test_a_provider_is_a_mapping(complaints: Callable[..., list[str]], entry: str) -> None:
    assert complaints(one(entry)) == ["breakwater.yaml:2: providers[0]: must be a mapping of keys to values"]


@pytest.mark.parametrize(
    "entry",
    [
        "{name: p, kind: vllm, api_key: [hush-hush]}",
        "{name: p, kind: vllm, api_key: {hush-hush: hush-hush}}",
        '{name: p, kind: vllm, api_key: "hush-hush\\tx"}',
        "{name: p, kind: vllm, api_key: hush-hush, headers: hush-hush}",
        "{name: p, kind: vllm, api_key: hush-hush, headers: {a: [hush-hush]}}",
        "{name: p, kind: vllm, api_key: hush-hush, base_url: 'http://me:hush-hush@h'}",
        "{name: p, kind: vlm, api_key: hush-hush}",
        "{name: p, kind: vllm, api_key: ${KEY}, seed: 1}",
    ],
)
def test_no_secret_in_an_error(problems: Callable[..., tuple[Problem, ...]], entry: str) -> None:
    found = problems(one(entry), {"KEY": "hush-hush"})
    assert found
    assert "hush" not in repr(found) + "".join(map(str, found))


def test_no_secret_in_a_repr(loaded: Callable[..., Any]) -> None:
    text = one("{name: p, kind: openai-compatible, base_url: http://h, api_key: hush-1, headers: {a: hush-2}}")
    done = loaded(text)
    assert done.settings.providers[0].options.api_key == "hush-1"
    assert "hush" not in repr(done) + str(done.settings)


PACKAGE = """
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Annotated
from annotated_types import Le
from providers import Kind
from providers.law import Law

@dataclass(frozen=True)
class ParrotOptions:
    phrase: str
    delay: Law | None = None
    times: Annotated[int, Le(9)] = 1
    tags: list[str] = field(default_factory=list)
    mode: int | list[str] = 0
    token: str = field(default="", repr=False)
    model_fields: str = "a name that pydantic has too"

    def __post_init__(self) -> None:
        if self.token:
            raise ValueError(f"token: {self.token} is refused, and so is {self.token!r}")
        if self.phrase == "no":
            raise ValueError("nobody says: no")

parrot = Kind(ParrotOptions, lambda name, options: None)
wrong = ParrotOptions
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Installs a package with one entry point: ``package("parrot = parrots:parrot")``."""

    def install(entry: str) -> None:
        site = tmp_path / "site"
        info = site / "parrots-1.dist-info"
        info.mkdir(parents=True)
        (site / "parrots.py").write_text(dedent(PACKAGE))
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: parrots\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[breakwater.providers]\n{entry}\n")
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, "parrots", raising=False)

    return install


def test_a_kind_from_a_package(package: Callable[[str], None], loaded: Callable[..., Any]) -> None:
    package("parrot = parrots:parrot")
    entry = "{name: p, kind: parrot, phrase: hi, delay: {exponential: 2}, times: '3', tags: [a], mode: [b]}"
    options = loaded(one(entry)).settings.providers[0].options
    assert (options.phrase, options.delay, options.times) == ("hi", Law("exponential", 2), 3)
    assert (options.tags, options.mode) == (["a"], ["b"])


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ("phras: hi", ['.phras: unknown key; did you mean "phrase"?', ".phrase: is missing"]),
        ("phrase: hi, times: 10", [".times: must be less than or equal to 9"]),
        ("phrase: hi, times: yes", [f".times: {NUMBER}"]),
        ("phrase: hi, delay: x", [f".delay: {LAW}"]),
        ("phrase: hi, tags: [a, 5]", [f".tags[1]: {TEXT}"]),
        ("phrase: hi, mode: {a: b}", [".mode: must be a list", ".mode: must be a whole number"]),
        ("phrase: 'no'", [": nobody says: no"]),
        ("phrase: hi, token: hush-hush", [".token: *** is refused, and so is '***'"]),
    ],
)
def test_wrong_options_of_a_package(
    package: Callable[[str], None], complaints: Callable[..., list[str]], entry: str, wanted: list[str]
) -> None:
    package("parrot = parrots:parrot")
    told = complaints(one(f"{{name: p, kind: parrot, {entry}}}"))
    assert sorted(told) == sorted(f"breakwater.yaml:2: providers[0]{message}" for message in wanted)


@pytest.mark.parametrize("entry", ["parrot = parrots:wrong", "parrot = parrots:none", "parrot = no_such_module:x"])
def test_a_package_that_does_not_work(
    package: Callable[[str], None], problems: Callable[..., tuple[Problem, ...]], entry: str
) -> None:
    package(entry)
    (problem,) = problems(one("{name: p, kind: echo}"))
    assert problem.where == "installed packages"
    assert problem.message.startswith("a package's provider kind cannot be used: ")


def test_made_in_code() -> None:
    options = MockOptions(seed=5)
    assert ProviderSettings(name="p", kind="mock", options=options).options is options
