"""`breakwater local-model`: a real model in a real process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import free_port, refuses, wait_until

pytest.importorskip("xllamacpp", reason="make local-model installs it")
pytestmark = pytest.mark.model


def start(port: int, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "app.cli.main", "local-model", "--port", str(port), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def post(port: int, **fields: object) -> dict[str, object]:
    body = json.dumps({"messages": [{"role": "user", "content": "Say hello."}], **fields}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def await_line(process: subprocess.Popen[str], start_of_line: str) -> str:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        if line.startswith(start_of_line):
            return line
        seen.append(line)
    raise AssertionError(f"it ended: {seen}")


@pytest.fixture
def running() -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    process = start(port, "--parallel", "2", "--context", "512")
    try:
        await_line(process, "Ready: smollm2")
        yield process, port
    finally:
        process.kill()
        process.communicate()


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> float:
    began = time.monotonic()
    process.send_signal(number)
    output, _ = process.communicate(timeout=15)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert "Stopped." in output
    return time.monotonic() - began


def test_it_answers_has_slots_and_stops_cleanly(running: tuple[subprocess.Popen[str], int]) -> None:
    process, port = running
    answer = post(port, max_tokens=8, temperature=0)
    assert answer["model"] == "smollm2"
    assert answer["choices"][0]["message"]["content"].strip()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/slots", timeout=5) as slots:
        assert [slot["is_processing"] for slot in json.load(slots)] == [False, False]
    assert stop(process, signal.SIGINT) < 5


def test_it_stops_in_the_middle_of_an_answer(running: tuple[subprocess.Popen[str], int]) -> None:
    process, port = running
    failures: list[BaseException] = []
    asking = threading.Thread(target=ask_at_length, args=(port, failures))
    asking.start()
    wait_until(lambda: busy(port), 30, lambda: "the model never began")
    assert stop(process) < 5
    asking.join(10)
    assert failures


def ask_at_length(port: int, failures: list[BaseException]) -> None:
    try:
        post(port, max_tokens=400, ignore_eos=True)
    except OSError as error:
        failures.append(error)


def busy(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/slots", timeout=5) as slots:
        return any(slot["is_processing"] for slot in json.load(slots))


def test_it_stops_while_it_loads() -> None:
    process = start(free_port())
    await_line(process, "Loading smollm2")
    assert stop(process) < 5


@pytest.mark.parametrize("generating", [False, True])
def test_the_model_ends_with_its_parent(running: tuple[subprocess.Popen[str], int], generating: bool) -> None:
    process, port = running
    failures: list[BaseException] = []
    asking = threading.Thread(target=ask_at_length, args=(port, failures))
    if generating:
        asking.start()
        wait_until(lambda: busy(port), 30, lambda: "the model never began")
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: refuses(port), 5, lambda: "the orphan still listens")
    if generating:  # the answer is cut, not finished by a process that nobody can see
        asking.join(10)
        assert failures


def test_neither_a_proxy_nor_another_app_package_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9"}
    code = (
        f"import sys; sys.path[0] = {str(Path.cwd())!r}; sys.argv[0] = 'breakwater'; "
        "from app.cli.main import main; main()"
    )
    port = free_port()
    command = [sys.executable, "-c", code, "local-model", "--port", str(port), "--context", "512"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, env=environment
    )
    try:
        await_line(process, "Ready: smollm2")
        stop(process)
    finally:
        process.kill()
        process.communicate()


def test_a_port_in_use_is_said_before_anything_is_loaded() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(taken.getsockname()[1])
        output, _ = process.communicate(timeout=15)
    assert process.returncode == 1
    assert "Address already in use" in output
    assert "Loading" not in output


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"PK\x03\x04", "not a GGUF"), (b"GGUF" + b"\0" * 64, "error loading model")],
)
def test_a_file_that_is_no_model_is_said_plainly(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "model.gguf"
    if content is not None:
        file.write_bytes(content)
    process = start(free_port(), "--gguf", str(file))
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said in output
    assert "Traceback" not in output
