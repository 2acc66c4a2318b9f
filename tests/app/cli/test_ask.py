"""`breakwater ask` against a real gateway, as a person runs it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest


def ask(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli.main", "ask", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_the_answer_goes_to_stdout_and_the_facts_to_stderr(demo: Any, stream: list[str]) -> None:
    done = ask("Hello there", "--url", demo.url, "--provider", "echo", *stream)
    assert (done.returncode, done.stdout) == (0, "Echo: Hello there\n")
    assert "echo/demo · by pin · attempts echo/demo:200 · request req_" in done.stderr
    assert "3 tokens" in done.stderr
    assert ("first token" in done.stderr) is bool(stream)


def test_a_dash_reads_standard_input_and_v1_in_the_url_is_fine(demo: Any) -> None:
    done = ask("-", "--url", f"{demo.url}/v1/", "--provider", "echo", "--model", "anything", given="from a pipe")
    assert done.stdout == "Echo: from a pipe\n"


def test_the_gateways_own_words_are_shown_without_a_traceback(demo: Any) -> None:
    done = ask("Hello", "--url", demo.url, "--provider", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "these do: echo, mock_openai, mock_vllm" in done.stderr
    assert "request req_" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_gateway_says_how_to_start_one() -> None:
    done = ask("Hello", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "Start one with: make run" in done.stderr
    assert "Traceback" not in done.stderr


HALF = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"content":"Half an"},"finish_reason":null}]}\n\n'
    b'data: {"error":{"message":"it fell over","type":"server_error","param":null,"code":"upstream_error"}}\n\n'
)


@pytest.fixture
def cutting() -> Iterator[str]:
    """What a gateway sends when a stream breaks off: half an answer, an error event, the end."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(HALF)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_a_stream_that_breaks_off_shows_what_came_and_says_so(cutting: str) -> None:
    done = ask("Hello", "--url", cutting, "--model", "m", "--stream")
    assert done.returncode == 1
    assert done.stdout == "Half an\n"
    assert "The answer broke off: it fell over" in done.stderr
    assert "Traceback" not in done.stderr
