"""breakwater check: what it prints, in which form, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli.main import main
from app.settings import SettingsError, load

ROOT = Path(__file__).parents[3]
GOOD = """\
providers:
- {name: cloud, kind: openai, api_key: "${CLOUD_KEY:-}"}
- {name: near, kind: vllm, base_url: "http://vllm:8000/v1"}
- {name: echo, kind: echo}
routes:
- model: assistant
  targets:
  - {provider: cloud, model: gpt-4o-mini, weight: 3}
  - {provider: near, model: llama, weight: 1}
  - {provider: echo, tier: 1}
  - {provider: near, model: tiny, weight: 0, tier: 1}
  retry: {max_attempts: 4}
  timeouts: {total: 301}
- model: "*"
  targets: [{provider: near}]
passthrough: {provider: cloud, paths: [/v1/files, "/v1/batches/*"]}
"""
ODD = GOOD.replace('"${CLOUD_KEY:-}"', "sk-hush-hush-hush")
BROKEN = GOOD.replace("weight: 3", "wieght: 3").replace("kind: echo", "kind: ecko")


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """``check(text, *arguments)``: the text is in breakwater.yaml; None is no file. The environment is empty."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name not in ("PATH", "HOME"):
            monkeypatch.delenv(name)

    def run(text: str | None, *arguments: str, **environ: str) -> Result:
        if text is not None:
            (tmp_path / "breakwater.yaml").write_text(text)
        result = CliRunner().invoke(main, ["check", *arguments], env=environ)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run


def test_a_good_configuration_is_shown_as_it_would_serve(check: Callable[..., Result]) -> None:
    result = check(GOOD, "breakwater.yaml")
    assert result.exit_code == 0
    assert (
        result.output
        == """\
breakwater.yaml: 2 routes, 5 targets, 3 providers
├── assistant  4 attempts in 301 s
│   ├── tier 0
│   │   ├──  75.0%  cloud/gpt-4o-mini  openai https://api.openai.com/v1
│   │   └──  25.0%  near/llama  vllm http://vllm:8000/v1
│   └── tier 1
│       ├── 100.0%  echo/assistant  echo
│       └──    pin  near/tiny  vllm http://vllm:8000/v1
├── * (any other model)  3 attempts in 600 s
│   └── tier 0
│       └── 100.0%  near/*  vllm http://vllm:8000/v1
└── other paths  /v1/files, /v1/batches/* → cloud
It can be used.
"""
    )


def test_each_error_has_its_line(check: Callable[..., Result]) -> None:
    result = check(BROKEN, "breakwater.yaml")
    assert result.exit_code == 1
    assert (
        result.output
        == """\
breakwater.yaml:4: error: providers[2].kind: unknown kind; the kinds are: echo, llamacpp, mock, openai, openai-compatible, vllm; did you mean "echo"?
breakwater.yaml:8: error: routes[0].targets[0].wieght: unknown key; did you mean "weight"?

It cannot be used: 2 errors.
"""
    )


@pytest.mark.parametrize(("arguments", "code"), [((), 0), (("--strict",), 1)])
def test_warnings_alone_fail_only_if_asked_to(
    check: Callable[..., Result], arguments: tuple[str, ...], code: int
) -> None:
    result = check(ODD, "breakwater.yaml", *arguments)
    assert result.exit_code == code
    first, *_, last = result.output.splitlines()
    assert first == (
        "breakwater.yaml:2: warning: providers[0].api_key: a secret stands here in plain text; "
        "write ${CLOUD_API_KEY} and set it in the environment"
    )
    assert last == "It can be used, with 1 warning."
    assert "├── assistant" in result.output
    assert "hush" not in result.output
    assert check(GOOD, "breakwater.yaml", *arguments).exit_code == 0


@pytest.mark.parametrize(
    "text", [BROKEN, "", "a: [", "providers: 5", f"{GOOD}server: {{host: 0.0.0.0}}", f"{GOOD}cache: {{}}"]
)
def test_its_errors_are_what_serve_refuses(check: Callable[..., Result], tmp_path: Path, text: str) -> None:
    result = check(text, "breakwater.yaml", "--json")
    assert result.exit_code == 1
    with pytest.raises(SettingsError) as caught:
        load(Path("breakwater.yaml"), {}, tmp_path)
    told = [(problem["where"], problem["message"]) for problem in json.loads(result.output)["problems"]]
    assert told == [(problem.where, problem.message) for problem in caught.value.problems]


def test_problems_for_machines(check: Callable[..., Result]) -> None:
    result = check(BROKEN, "breakwater.yaml", "--json", BREAKWATER_SERVER__PORT="x")
    assert result.exit_code == 1
    found = json.loads(result.output)
    assert found["usable"] is False
    assert found["problems"][1:] == [
        {
            "severity": "error",
            "where": "breakwater.yaml:8",
            "file": "breakwater.yaml",
            "line": 8,
            "key": "routes[0].targets[0].wieght",
            "message": "unknown key",
            "suggestion": "weight",
        },
        {
            "severity": "error",
            "where": "environment BREAKWATER_SERVER__PORT",
            "file": None,
            "line": None,
            "key": "server.port",
            "message": "must be a whole number",
            "suggestion": None,
        },
    ]


def test_warnings_for_machines(check: Callable[..., Result]) -> None:
    for arguments, code in (((), 0), (("--strict",), 1)):
        result = check(ODD, "breakwater.yaml", "--json", *arguments)
        assert result.exit_code == code
        found = json.loads(result.output)
        assert found["usable"] is True
        assert [(problem["severity"], problem["line"]) for problem in found["problems"]] == [("warning", 2)]
        assert "hush" not in result.output
    assert json.loads(check(GOOD, "--json").output) == {"usable": True, "problems": []}


def test_without_a_file_it_is_what_serve_would_take(check: Callable[..., Result]) -> None:
    assert "the built-in demo configuration: 3 routes" in check(None).output
    result = check(None, VLLM_URL="http://vllm:8000", OPENAI_API_KEY="sk-hush-hush-hush")
    assert result.exit_code == 0
    assert "the environment (OPENAI_API_KEY, VLLM_URL): 1 route, 2 targets, 2 providers" in result.output
    assert "hush" not in result.output
    assert check(GOOD).output.startswith("breakwater.yaml: 2 routes")


def test_a_file_that_is_not_there(check: Callable[..., Result]) -> None:
    result = check(None, "nowhere.yaml")
    assert result.exit_code == 1
    assert result.output.splitlines()[0] == "nowhere.yaml: error: cannot be read: no such file or directory"


def test_a_missing_variable_is_an_error_here_as_for_serve(check: Callable[..., Result]) -> None:
    text = GOOD.replace(":-}", "}")
    assert "2: error: providers[0].api_key: the environment variable CLOUD_KEY is not set" in check(text).output
    assert check(text, CLOUD_KEY="sk-1").exit_code == 0


def test_the_schema(check: Callable[..., Result]) -> None:
    result = check(BROKEN, "--schema")
    assert result.exit_code == 0
    assert result.output == (ROOT / "docs" / "config.schema.json").read_text()


def on_a_terminal(folder: Path, **environ: str) -> str:
    """What `breakwater check` prints to a terminal of 60 columns."""
    here, there = pty.openpty()
    command = [sys.executable, "-m", "app.cli.main", "check", "breakwater.yaml"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "60", **environ}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=there, stderr=there, stdin=there):
        os.close(there)
        parts = []
        try:
            while part := os.read(here, 4096):
                parts.append(part)
        except OSError:  # how Linux ends a terminal whose other side is closed
            pass
    os.close(here)
    return b"".join(parts).decode()


def test_colours_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "breakwater.yaml").write_text(ODD)
    shown = on_a_terminal(tmp_path)
    assert "\x1b[33m\x1b[1mwarning\x1b[0m" in shown
    assert "\x1b[1mbreakwater.yaml:2\x1b[0m" in shown
    assert "\x1b[1;36massistant\x1b[0m" in shown
    (tmp_path / "breakwater.yaml").write_text(BROKEN)
    assert "\x1b[31m\x1b[1merror\x1b[0m" in on_a_terminal(tmp_path)


def test_no_colours_elsewhere(check: Callable[..., Result]) -> None:
    for text in (GOOD, ODD, BROKEN):
        assert "\x1b" not in check(text).output


def test_names_are_text_and_no_markup(check: Callable[..., Result]) -> None:
    text = GOOD.replace("gpt-4o-mini", "'[red]gpt[/red] [link=x]'").replace(
        "model: assistant", "model: '[bold]a[/bold]'"
    )
    output: Any = check(text).output
    assert "cloud/[red]gpt[/red] [link=x]" in output
    assert "├── [bold]a[/bold]  4 attempts" in output


def test_it_is_listed() -> None:
    listed = CliRunner().invoke(main, ["--help"]).output
    assert "check" in listed
    assert "--strict" in CliRunner().invoke(main, ["check", "--help"]).output
