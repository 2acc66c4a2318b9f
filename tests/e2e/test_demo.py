"""`breakwater demo`, as a newcomer starts it and ends it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from waiting import wait_until

from tests.e2e.harness import ROOT

COMMAND = [sys.executable, "-m", "app.cli.main", "demo"]
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


class Piped:
    """The demo without a terminal; what it has written so far is read as it comes."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.output = ""
        self._process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=ROOT,
            env=ENVIRONMENT | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def says(self, pattern: str) -> re.Match[str]:
        """Waits for it."""
        wait_until(lambda: re.search(pattern, self._read()) is not None, 20, lambda: self.output)
        found = re.search(pattern, self.output)
        assert found is not None
        return found

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def ends(self) -> int:
        wait_until(lambda: self._process.poll() is not None, 20, lambda: self.output)
        self._read()
        return self._process.returncode

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> str:
        assert self._process.stdout is not None
        self.output += (self._process.stdout.read() or b"").decode()
        return self.output


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_a_provider_goes_away_and_no_client_notices() -> None:
    """The first outage begins after 6 seconds."""
    with closing(Piped("--port", "0", "--seconds", "9", "--rate", "30")) as demo:
        url = demo.says(r"API (http://\S+)/v1 ")[1]
        metrics = demo.says(r"metrics (http://\S+/metrics)\n")[1]
        command = demo.says(r"curl (?:.*)\\\n.*\n")[0]
        demo.says(r" 3 s  ")
        answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=20, check=True).stdout
        assert "x-target: mock_" in answer
        assert '"object":"chat.completion"' in answer
        with urllib.request.urlopen(f"{url}/docs", timeout=5) as page:
            assert page.status == 200
        demo.says(r"mock_flaky \S+ \(failing, \d+ in a row\)")
        request = urllib.request.Request(metrics, headers={"Accept": "application/json"})
        with urllib.request.urlopen(request, timeout=5) as page:
            told = json.load(page)
        assert told["request_count"] > 50
        assert told["errors_by_source"] == {"gateway": 0, "provider": 0, "client": 0}
        assert told["targets"]["mock_flaky/demo"]["failed_attempts"] > 0
        assert demo.ends() == 0
        assert re.search(r"\d+ × mock_flaky unreachable", demo.output)
        assert re.search(r"^ *0 +errors reached a client", demo.output, flags=re.MULTILINE)
        assert "Traceback" not in demo.output
        assert '"event"' not in demo.output  # no access log


def test_an_interrupt_ends_it_cleanly_with_the_summary() -> None:
    with closing(Piped("--port", "0")) as demo:
        demo.says(r" 1 s  ")
        began = time.monotonic()
        demo.interrupt()
        assert demo.ends() == 0
        assert time.monotonic() - began < 5
        assert "after the demo" in demo.output
        assert "Traceback" not in demo.output


def test_a_port_that_was_asked_for_and_is_taken_is_said_plainly() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with closing(Piped("--port", str(taken.getsockname()[1]))) as demo:
            assert demo.ends() == 1
    assert "Address already in use" in demo.output
    assert "Traceback" not in demo.output


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal of 80 by 24."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.set_blocking(ours, False)
    yield ours, theirs
    os.close(ours)


def test_on_a_terminal_it_is_live_and_ctrl_c_brings_the_screen_back(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    demo = subprocess.Popen(
        [*COMMAND, "--port", "0"],
        cwd=ROOT,
        env=ENVIRONMENT | {"TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""

    def shown() -> bytes:
        nonlocal seen
        with suppress(OSError):  # nothing new; or the other side is gone
            seen += os.read(ours, 1_000_000)
        return seen

    wait_until(lambda: b"What clients did not notice" in shown(), 20, lambda: seen.decode(errors="replace"))
    assert b"\x1b[?1049h" in seen  # the other screen
    demo.send_signal(signal.SIGINT)
    wait_until(lambda: shown() is not None and demo.poll() is not None, 20, lambda: seen.decode(errors="replace"))
    shown()
    assert demo.returncode == 0
    screen, _, after = seen.rpartition(b"\x1b[?1049l")
    assert screen
    assert b"after the demo" in after
    assert b"Traceback" not in seen
