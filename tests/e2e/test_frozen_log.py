"""Whoever reads the log stands still: a log shipper that hangs, a pager, Ctrl-S. Requests are answered all the same."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import urllib.request
from pathlib import Path

import orjson
import pytest
from waiting import free_port, refuses, wait_until

from tests.e2e.harness import ROOT

STOP, GO_ON = b"\x13", b"\x11"  # Ctrl-S, Ctrl-Q
REQUESTS = 1500  # 0.7 MB of log; a pipe holds 64 kB


def serve(folder: Path, port: int, output: int) -> subprocess.Popen[bytes]:
    any_port = {"BREAKWATER_SERVER__METRICS_PORT": "0", "BREAKWATER_SERVER__ADMIN_PORT": "0"}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm", **any_port}
    command = [sys.executable, "-m", "app.cli.main", "serve", "--port", str(port)]
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=errors)
    os.close(output)
    wait_until(lambda: not refuses(port), 20, (folder / "errors").read_text)
    return process


def ask(port: int, path: str = "/v1/models") -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        said: bytes = answer.read()
        return said


def leave(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    return process.wait(15)


def rest_of(reader: int) -> bytes:
    """Until the other end is closed."""
    said = b""
    while True:
        try:
            part = os.read(reader, 1 << 20)
        except OSError:  # how a terminal says so
            return said
        if not part:
            return said
        said += part


def test_a_reader_that_stands_still_stops_no_request_and_no_stop(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    port = free_port()
    process = serve(tmp_path, port, writer)
    try:
        for _ in range(REQUESTS):
            ask(port)
        assert b"breakwater_log_lines_dropped_total 0" in ask(port, "/metrics")
        assert leave(process) == 0
        lines = [orjson.loads(line) for line in rest_of(reader).splitlines() if line.endswith(b"}")]
        assert lines[0]["event"] == "serving"
        assert 50 < sum(line["event"] == "request" for line in lines) < REQUESTS, "nobody has read the rest"
    finally:
        process.kill()
        process.wait()
        os.close(reader)


def test_a_reader_who_comes_back_gets_everything(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    port = free_port()
    process = serve(tmp_path, port, writer)
    try:
        for _ in range(REQUESTS):
            ask(port)
        process.terminate()
        said = rest_of(reader)
        lines = [orjson.loads(line) for line in said.splitlines()]
        assert sum(line["event"] == "request" and line["path"] == "/v1/models" for line in lines) == REQUESTS
        assert lines[-1]["event"] == "stopped"
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)


@pytest.mark.parametrize("stopped", [True, False])
def test_ctrl_s_in_its_terminal_stops_the_screen_only(tmp_path: Path, stopped: bool) -> None:
    screen, terminal = pty.openpty()
    port = free_port()
    process = serve(tmp_path, port, terminal)
    try:
        os.read(screen, 1 << 16)
        if stopped:
            os.write(screen, STOP)
        for _ in range(300):
            ask(port)
        if stopped:
            os.write(screen, GO_ON)
        process.terminate()
        assert rest_of(screen).count(b"/v1/models") >= 300
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
        os.close(screen)
