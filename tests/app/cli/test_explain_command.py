"""breakwater explain: by a file at rest; of a gateway that runs, see tests/e2e/test_admin.py."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli.main import main

ROOT = Path(__file__).parents[3]
CONFIG = """\
providers:
- {name: cloud, kind: openai, api_key: "sk-canary-key", base_url: "http://127.0.0.1:9/v1"}
- {name: near, kind: vllm, base_url: "http://vllm:8000/v1"}
- {name: echo, kind: echo}
routes:
- model: assistant
  targets:
  - {provider: cloud, model: gpt-4o-mini, weight: 3}
  - {provider: near, model: llama, weight: 1}
  - {provider: echo, tier: 1}
  - {provider: near, model: tiny, weight: 0}
"""


@pytest.fixture
def explain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """``explain(*arguments)`` where CONFIG is breakwater.yaml. The environment is empty."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name not in ("PATH", "HOME"):
            monkeypatch.delenv(name)
    (tmp_path / "breakwater.yaml").write_text(CONFIG)

    def run(*arguments: str, **environ: str) -> Result:
        result = CliRunner().invoke(main, ["explain", *arguments], env=environ)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        assert "Traceback" not in result.output
        return result

    return run


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_each_target_with_its_share_or_why_not(explain: Callable[..., Result]) -> None:
    result = explain("--model", "assistant", "--header", "X-Request-ID: one")
    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines()]
    assert lines[0] == ["assistant", "route", "assistant,", "strategy", "weighted"]
    table = {line[0]: line[1:] for line in lines if line and "/" in line[0]}
    assert table["cloud/gpt-4o-mini"][:4] == ["0", "3", "75.0%", "3"]
    assert table["near/llama"][:4] == ["0", "1", "25.0%", "1"]
    assert {table["cloud/gpt-4o-mini"][4], table["near/llama"][4]} == {"picked", "candidate"}
    assert table["echo/assistant"] == ["1", "1", "tier", "1:", "after", "tier", "0"]
    assert table["near/tiny"] == ["0", "0", "weight", "0:", "reached", "by", "a", "pin", "only"]
    assert "canary" not in result.output


def test_the_failover_chain_and_its_end(explain: Callable[..., Result]) -> None:
    output = explain("--model", "assistant", "--header", "X-Request-ID: one").output
    chain = output[output.index("If every attempt failed:") :].splitlines()
    assert chain[1].split()[0] == "1."
    assert chain[2].split()[2] == "failover"
    assert {chain[1].split()[1], chain[2].split()[1]} == {"cloud/gpt-4o-mini", "near/llama"}
    assert chain[3].split()[1] == "echo/assistant"
    assert chain[4].strip() == "then: the route allows no further attempt (retry.max_attempts)"


def test_a_header_pins(explain: Callable[..., Result]) -> None:
    answer = told(explain("--model", "assistant", "--header", "X-Provider-Priority: echo", "--json"))
    assert (answer["target"], answer["pin"]) == ("echo/assistant", "echo")
    output = explain("--model", "assistant", "--header", "X-Provider-Priority: echo").output
    assert "pinned to echo" in output
    assert "not pinned" in output


def test_the_same_id_is_the_same_target(explain: Callable[..., Result]) -> None:
    seen = set()
    for n in range(20):
        header = f"X-Request-ID: request-{n}"
        first = told(explain("--model", "assistant", "--header", header, "--json"))["target"]
        assert told(explain("--model", "assistant", "--header", header, "--json"))["target"] == first
        seen.add(first)
    assert seen == {"cloud/gpt-4o-mini", "near/llama"}


def test_without_an_id_it_says_that_it_is_one_of_many(explain: Callable[..., Result]) -> None:
    assert "this is one of them" in explain("--model", "assistant").output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nothing"], "no route serves the model 'nothing'; models: assistant"),
        (["--model", "assistant", "--header", "no colon"], "--header 'no colon' is not a header."),
        (["--model", "assistant", "--header", ": x"], "is not a header"),
        (["--model", "assistant", "--header", "X-Provider-Priority: nobody"], "these do: cloud, echo, near"),
        (["--model", "assistant", "--header", "X-Deadline-Ms: soon"], "X-Deadline-Ms must be"),
        (["--model", "assistant", "--header", "X-Session-ID: ü"], "printable ASCII"),
        (["--model", ""], "model: "),
        (["--config", "nothing.yaml", "--model", "m"], "nothing.yaml: cannot be read"),
        (["--model", "m", "--url", "127.0.0.1:8001", "--token", "x"], "is not an address"),
        (["--model", "m", "--url", "ftp://127.0.0.1", "--token", "x"], "is not an address"),
        (["--model", "m", "--url", "http://127.0.0.1:1"], "needs its token"),
        (["--model", "m", "--url", "http://127.0.0.1:1", "--token", "x"], "No answer from http://127.0.0.1:1"),
        (
            ["--model", "m", "--url", "http://127.0.0.1:1", "--token", "x", "--config", "nothing"],
            "nothing cannot be read",
        ),
    ],
)
def test_what_makes_no_sense_is_said_and_the_status_is_1(
    explain: Callable[..., Result], arguments: list[str], words: str
) -> None:
    result = explain(*arguments)
    assert result.exit_code == 1
    assert words in result.output


def test_without_a_model_click_says_so(explain: Callable[..., Result]) -> None:
    assert explain().exit_code == 2


def test_a_redirect_is_not_followed_and_the_token_goes_nowhere(explain: Callable[..., Result]) -> None:
    heard: list[bytes] = []

    def answer_once() -> None:
        connection, _ = server.accept()
        with connection:
            heard.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 2\r\n\r\n{}")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer_once)
        thread.start()
        result = explain("--model", "m", "--url", f"http://127.0.0.1:{server.getsockname()[1]}", "--token", "sk-canary")
        thread.join()
    assert b"POST /admin/explain HTTP/1.1" in heard[0]
    assert b"Authorization: Bearer sk-canary" in heard[0]
    assert result.exit_code == 1
    assert "says no (302)" in result.output
    assert "canary" not in result.output


def test_no_provider_is_called(explain: Callable[..., Result]) -> None:
    """The address of the configuration's provider is one that nobody listens on; it is not even looked up."""
    blocked = "import socket;socket.socket.connect=socket.getaddrinfo=None;from app.cli.main import main;main()"
    command = [sys.executable, "-c", blocked, "explain", "--model", "assistant"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
