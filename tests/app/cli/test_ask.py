"""`breakwater ask` against a real gateway, as a person runs it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
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
    assert done.stderr.startswith("400 unknown_provider: ")
    assert "these do: echo, mock_openai, mock_vllm" in done.stderr
    assert "request req_" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_gateway_says_how_to_start_one() -> None:
    done = ask("Hello", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "Start one with: make run" in done.stderr
    assert "Traceback" not in done.stderr


CHUNK = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"content":"Half an"},"finish_reason":null}]}\n\n'
)
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + CHUNK
ERROR = b'data: {"error":{"message":"it fell over","type":"server_error","param":null,"code":"upstream_error"}}\n\n'
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (
    len(CHUNK),
    CHUNK,
)
PAGE = b"HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: 9\r\nConnection: close\r\n\r\n<p>hi</p>"


@contextlib.contextmanager
def answering(answer: bytes) -> Generator[str]:
    """A server that says this, whatever it is asked, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):  # what is left unread would reset the connection
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            thread.join(10)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (STREAM + ERROR, "The answer broke off: it fell over"),
        (STREAM, "The answer broke off: the stream ended without a finish reason"),
        (CHUNKED, "broke: peer closed connection"),
    ],
    ids=["error event", "early end", "aborted body"],
)
def test_a_stream_that_breaks_off_shows_what_came_and_says_so(answer: bytes, said: str) -> None:
    with answering(answer) as url:
        done = ask("Hello", "--url", url, "--model", "m", "--stream")
    assert (done.returncode, done.stdout) == (1, "Half an\n")
    assert said in done.stderr
    assert "no gateway" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("more", [[], ["--model", "m"], ["--model", "m", "--stream"]])
@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found"])
def test_what_is_no_gateway_fails_without_a_traceback(status: bytes, more: list[str]) -> None:
    with answering(PAGE % status) as url:
        done = ask("Hello", "--url", url, *more)
    assert (done.returncode, done.stdout.strip()) == (1, "")
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


def test_a_url_without_a_scheme_and_an_empty_key_are_fine(demo: Any) -> None:
    done = ask("Hello", "--url", demo.url.removeprefix("http://"), "--api-key", "", "--provider", "echo")
    assert done.stdout == "Echo: Hello\n"


def test_a_key_that_no_header_takes_is_said_and_not_shown() -> None:
    done = ask("Hello", "--api-key", "schl\u00fcssel", "--model", "m")
    assert done.returncode == 1
    assert "ASCII only" in done.stderr
    assert "ssel" not in done.stderr
