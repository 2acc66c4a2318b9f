"""Where the configuration comes from, the built-in one, the one from SDKs' variables; and that nothing else escapes."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import app.settings
from app.settings import Loaded, Problem, SettingsError, load
from app.wiring import build
from providers.law import Law
from providers.mock import MockOptions
from providers.openai_compatible import HttpOptions
from providers.registry import OpenAIOptions
from providers.vllm import VLLMOptions

ROOT = Path(__file__).parents[3]


def config(model: str) -> str:
    return f"providers: [{{name: e, kind: echo}}]\nroutes: [{{model: {model}, targets: [{{provider: e}}]}}]\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A working directory with breakwater.yaml and two others."""
    for name in ("breakwater", "named", "asked"):
        (tmp_path / f"{name}.yaml").write_text(config(name))
    return tmp_path


def model_of(done: Loaded) -> str:
    return done.settings.routes[0].model


def test_which_file(files: Path) -> None:
    keyed = {"OPENAI_API_KEY": "k"}
    named = {"BREAKWATER_CONFIG": "named.yaml"}
    done = load(Path("asked.yaml"), named | keyed, files)
    assert (model_of(done), done.source) == ("asked", "asked.yaml")
    done = load(files / "asked.yaml", named, Path("/"))
    assert (model_of(done), done.source) == ("asked", str(files / "asked.yaml"))
    done = load(None, named | keyed, files)
    assert (model_of(done), done.source) == ("named", "named.yaml")
    done = load(None, keyed | {"BREAKWATER_CONFIG": ""}, files)
    assert (model_of(done), done.source) == ("breakwater", "breakwater.yaml")
    (files / "breakwater.yaml").unlink()
    assert load(None, keyed, files).source == "the environment (OPENAI_API_KEY)"
    assert load(None, {}, files).source == "the built-in demo configuration"


@pytest.mark.parametrize(
    ("path", "environ", "wanted"),
    [
        ("none.yaml", {}, "none.yaml: cannot be read: no such file or directory"),
        (None, {"BREAKWATER_CONFIG": "none.yaml"}, "none.yaml: cannot be read: no such file or directory"),
        ("folder", {}, "folder: cannot be read: is a directory"),
        ("named.yaml/x", {}, "named.yaml/x: cannot be read: not a directory"),
    ],
)
def test_no_such_file(files: Path, path: str | None, environ: dict[str, str], wanted: str) -> None:
    (files / "folder").mkdir()
    with pytest.raises(SettingsError) as caught:
        load(Path(path) if path else None, environ, files)
    assert str(caught.value) == wanted


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(files: Path) -> None:
    (files / "breakwater.yaml").chmod(0)
    with pytest.raises(SettingsError, match="cannot be read: permission denied"):
        load(None, {}, files)


def test_the_label_is_the_name_that_was_given(files: Path) -> None:
    (files / "named.yaml").write_text(config("m") + "sever: 1")
    for path, where in ((Path("named.yaml"), "named.yaml:3"), (files / "named.yaml", f"{files}/named.yaml:3")):
        with pytest.raises(SettingsError) as caught:
            load(path, {}, files)
        assert caught.value.problems == (Problem(where, "sever", "unknown key", "server"),)
        assert str(caught.value) == f'{where}: sever: unknown key; did you mean "server"?'


def test_the_built_in_configuration(tmp_path: Path) -> None:
    done = load(None, {}, tmp_path).settings
    assert [(provider.name, provider.kind) for provider in done.providers] == [
        ("mock_openai", "mock"),
        ("mock_vllm", "mock"),
        ("mock_down", "mock"),
        ("echo", "echo"),
    ]
    slow, fast = done.providers[0].options, done.providers[1].options
    assert slow == MockOptions(Law("lognormal", 0.2, 0.5), Law("constant", 0.02), error_rate=0.01, seed=1)
    assert isinstance(fast, MockOptions)
    assert fast.ttft.a < slow.ttft.a
    assert fast.token_interval.a < slow.token_interval.a
    assert (fast.error_rate, fast.seed) == (0, 2)
    assert [route.model for route in done.routes] == ["demo", "outage", "*"]
    for route in (done.routes[0], done.routes[2]):
        targets = [(target.provider, target.model, target.weight, target.tier) for target in route.targets]
        assert targets == [("mock_openai", None, 70, 0), ("mock_vllm", None, 30, 0), ("echo", None, 1, 1)]


def test_the_built_in_configuration_takes_overrides(tmp_path: Path) -> None:
    done = load(None, {"PROVIDER_WEIGHTS": '{"mock_vllm": 90}', "PORT": "1"}, tmp_path).settings
    assert [route.targets[1].weight for route in done.routes] == [90, 90, 90]
    assert done.server.port == 1
    with pytest.raises(SettingsError) as caught:
        load(None, {"PROVIDER_WEIGHTS": '{"mock_openai": 0, "mock_vllm": 0, "echo": 0}'}, tmp_path)
    assert {problem.where for problem in caught.value.problems} == {"environment PROVIDER_WEIGHTS"}


@pytest.mark.parametrize(
    ("environ", "source", "wanted"),
    [
        ({"OPENAI_API_KEY": "k"}, "OPENAI_API_KEY", {"openai": OpenAIOptions(api_key="k")}),
        ({"OPENAI_BASE_URL": "http://h/x"}, "OPENAI_BASE_URL", {"openai": OpenAIOptions("http://h/x")}),
        (
            {"OPENAI_BASE_URL": "http://h", "OPENAI_API_KEY": "k"},
            "OPENAI_API_KEY, OPENAI_BASE_URL",
            {"openai": OpenAIOptions("http://h/v1", "k")},
        ),
        ({"VLLM_URL": "http://v:8000/"}, "VLLM_URL", {"vllm": VLLMOptions("http://v:8000/v1")}),
        ({"VLLM_URL": "http://v/v1", "VLLM_API_KEY": "k"}, "VLLM_URL", {"vllm": VLLMOptions("http://v/v1", "k")}),
        ({"BACKEND_URL": "http://b/api/v2"}, "BACKEND_URL", {"backend": HttpOptions("http://b/api/v2")}),
        (
            {"BACKEND_URL": "http://b", "VLLM_URL": "http://v", "OPENAI_API_KEY": "k"},
            "OPENAI_API_KEY, VLLM_URL, BACKEND_URL",
            {
                "openai": OpenAIOptions(api_key="k"),
                "vllm": VLLMOptions("http://v/v1"),
                "backend": HttpOptions("http://b/v1"),
            },
        ),
        ({"OPENAI_API_KEY": "", "VLLM_URL": "http://v"}, "VLLM_URL", {"vllm": VLLMOptions("http://v/v1")}),
    ],
)
def test_providers_from_the_environment(
    tmp_path: Path, environ: dict[str, str], source: str, wanted: dict[str, object]
) -> None:
    done = load(None, environ, tmp_path)
    assert done.source == f"the environment ({source})"
    assert {provider.name: provider.options for provider in done.settings.providers} == wanted
    (route,) = done.settings.routes
    assert route.model == "*"
    assert [(t.provider, t.model, t.weight, t.tier) for t in route.targets] == [(name, None, 1, 0) for name in wanted]


def test_weights_of_providers_from_the_environment(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": "k", "VLLM_URL": "http://v", "PROVIDER_WEIGHTS": '{"openai": 70, "vllm": 30}'}
    (route,) = load(None, environ, tmp_path).settings.routes
    assert [target.weight for target in route.targets] == [70, 30]


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        (
            {"VLLM_URL": "v:8000"},
            (
                "environment VLLM_URL: providers[0].base_url: "
                "must begin with http:// or https:// and be an address such as https://host/v1"
            ),
        ),
        (
            {"OPENAI_BASE_URL": "http://[", "OPENAI_API_KEY": "k"},
            "environment OPENAI_BASE_URL: providers[0].base_url: must be an address such as https://host/v1",
        ),
        (
            {"OPENAI_BASE_URL": "http://h", "OPENAI_API_KEY": "a\nb"},
            "environment OPENAI_API_KEY: providers[0].api_key: contains a line break or a control character",
        ),
        (
            {"OPENAI_API_KEY": "k", "PROVIDER_WEIGHTS": '{"opnai": 1}'},
            'environment PROVIDER_WEIGHTS: opnai: unknown provider; did you mean "openai"?',
        ),
        (
            {"OPENAI_API_KEY": "k", "VLLM_URL": "http://v", "PROVIDER_WEIGHTS": '{"openai": 0, "vllm": 0}'},
            (
                "environment PROVIDER_WEIGHTS: routes[0].targets[0].weight: "
                "every weight of the route is 0, so nothing could ever be picked"
            ),
        ),
    ],
)
def test_wrong_providers_from_the_environment(tmp_path: Path, environ: dict[str, str], wanted: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, environ, tmp_path)
    assert str(caught.value) == wanted


def test_the_example_of_the_contract(tmp_path: Path) -> None:
    """As it is written there: with ``${NAME}`` bare in flow mappings."""
    text = """
server:   {host: 127.0.0.1, port: 8000, metrics_port: 9090, admin_port: 8001, drain_seconds: 30, max_body_mb: 20,
           receive_timeout_s: 10, trusted_proxies: []}
providers:
  - {name: openai,  kind: openai,   api_key: ${OPENAI_API_KEY}}
  - {name: vllm-a,  kind: vllm,     base_url: http://vllm:8000/v1, api_key: ${VLLM_API_KEY:-}}
  - {name: vllm-b,  kind: vllm,     base_url: http://vllm-b:8000/v1}
  - {name: local,   kind: llamacpp, base_url: http://127.0.0.1:8081/v1}
  - {name: mock_openai, kind: mock, ttft: {lognormal: [0.2, 0.5]}, token_interval: 0.02, error_rate: 0.01, seed: 1}
  - {name: echo,    kind: echo}
routes:                      # public model name → targets; "*" matches any model and passes its name on
  - model: assistant
    targets:
      - {provider: openai, model: gpt-4o-mini, weight: 70}
      - {provider: vllm-a, model: llama-3.1-8b, weight: 30}
      - {provider: local,  model: gemma-3-270m, tier: 1}      # tried only when tier 0 cannot serve
    strategy: weighted       # weighted | least_busy | latency | cost | affinity
    mirror: {provider: vllm-b, share: 0.05}
    hedge: {after: p95, max_share: 0.05}
  - {model: "*", targets: [{provider: mock_openai}, {provider: echo, tier: 1}]}
defaults:                    # each may be overridden in a route or a target
  timeouts: {connect: 5, first_token: 30, idle: 15, attempt: 300, total: 600}    # seconds; first_token and idle for streams (pings do not
                                                             # count), attempt for one attempt, total over all of them
  retry:    {max_attempts: 3, budget: {ratio: 0.1, min_per_second: 0, ttl: 10}, concurrency: {share: 0.2, min: 3}, backoff: {base: 0.05, throttle_base: 1.0, cap: 20}}
  breaker:  {window: 30, min_calls: 10, failure_rate: 0.5, slow_rate: 1.0, slow_first_token: 20, open_base: 5, open_max: 300, half_open: 5, max_ejected: 0.5}
  concurrency: {algorithm: aimd, initial: 20, min: 1, max: 1000}
shedding:   {max_tokens_in_flight: 1000000, queue: {length: 100, timeout: 2}}
telemetry:  {log_level: INFO, access_log: true}
"""
    (tmp_path / "breakwater.yaml").write_text(text)
    done = load(None, {"OPENAI_API_KEY": "sk"}, tmp_path).settings
    assert [provider.options.api_key for provider in done.providers[:4]] == ["sk", None, None, None]


async def test_what_is_loaded_can_be_built(tmp_path: Path) -> None:
    gateway = build(load(None, {}, tmp_path).settings)
    assert set(gateway.providers) == {"mock_openai", "mock_vllm", "mock_down", "echo"}
    await gateway.aclose()


def test_the_package_reads_no_environment_by_itself() -> None:
    folder = Path(app.settings.__file__).parent
    for file in folder.glob("*.py"):
        names = {
            alias.name
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert "os" not in names, file
        assert not re.search(r"\bos\.environ|getenv", file.read_text()), file


def refusal(path: Path | None, environ: dict[str, str], cwd: Path) -> str:
    """All problems, one a line; empty if there are none."""
    try:
        load(path, environ, cwd)
    except SettingsError as error:
        return str(error) or "refused without a word"
    return ""


WORDS = (
    "server port host providers name kind options api_key headers base_url ttft seed routes model targets provider "
    "weight tier timeouts total idle connect retry max_attempts backoff cap strategy defaults telemetry log_level "
    "auth mirror budget lognormal breaker concurrency throttle probing enabled window min max ratio share burst "
    "open_base half_open hedge after max_share experiments arms unit price input output shedding queue length admin token"
)
KEYS = st.sampled_from(WORDS.split())
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 10**20),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(
        ["mock", "echo", "vllm", "e", "*", "m", "${X}", "${", "$$", "http://h", "1e400", "latency", "p95", "cost"]
    ),
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))
SOUND: dict[str, Any] = yaml.safe_load(config("m"))


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(KEYS, VALUES, max_size=4), st.booleans())
def test_whatever_is_written_the_answer_is_settings_or_problems(
    tmp_path_factory: pytest.TempPathFactory, given_data: dict[str, Any], over_sound: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    text = yaml.safe_dump((SOUND if over_sound else {}) | given_data)
    (folder / "any.yaml").write_text(text)
    told = refusal(Path("any.yaml"), {}, folder)
    assert all(re.match(r"any\.yaml(:\d+)?: ", line) for line in told.splitlines()), told


PLACES = [
    "PORT",
    "SERVER__PORT",
    "PROVIDERS__0",
    "PROVIDERS__0__TTFT",
    "ROUTES__0__TARGETS",
    "ROUTES__0__TARGETS__0__X",
]


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(PLACES), st.text(st.characters(exclude_characters="\0"), max_size=12) | VALUES.map(str))
def test_whatever_a_variable_holds_the_answer_is_settings_or_problems(
    tmp_path_factory: pytest.TempPathFactory, place: str, text: str
) -> None:
    environ = {f"BREAKWATER_{place}": text, "PROVIDER_WEIGHTS": text}
    told = refusal(None, environ, tmp_path_factory.getbasetemp())
    assert all(line.startswith(("environment ", "built-in configuration:")) for line in told.splitlines()), told


def test_a_problem_reads_well() -> None:
    call: Callable[..., Problem] = Problem
    assert str(call("f.yaml:12", "providers[1].kynd", "unknown key", "kind")) == (
        'f.yaml:12: providers[1].kynd: unknown key; did you mean "kind"?'
    )
    assert str(call("f.yaml", "", "is empty")) == "f.yaml: is empty"
