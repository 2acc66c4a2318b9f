"""What ``bench.storm`` and ``bench.overload`` need around them: a gateway and its upstreams, each a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.servers import ROOT, free_port

START_SECONDS = 30.0
POLL_SECONDS = 0.02
TOKEN = "a-token-for-the-benchmark"


@dataclass(frozen=True, slots=True)
class Limited:
    """An upstream that runs: ``bench.limited``."""

    name: str
    port: int

    def turn(self, mode: str) -> None:
        ask(self.port, f"/mode/{mode}", method="POST")

    def posts(self) -> list[float]:
        """When inference was asked for, on the monotonic clock."""
        return list(ask(self.port, "/posts"))


@dataclass(frozen=True, slots=True)
class Edge:
    """A gateway that runs. ``log`` is its output."""

    port: int
    admin_port: int
    log: Path

    def targets(self) -> list[dict[str, Any]]:
        """What its admin API says of them."""
        return list(ask(self.admin_port, "/admin/targets", token=TOKEN)["targets"])

    def lines(self) -> list[dict[str, Any]]:
        """Its access log."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == "request" and line["path"] == "/v1/chat/completions"]


@contextmanager
def limited(names: Sequence[str], folder: Path, *law: str) -> Generator[list[Limited]]:
    """``law`` as ``bench.limited`` takes it."""
    with ExitStack() as stack:
        upstreams = [Limited(name, free_port()) for name in names]
        for upstream in upstreams:
            command = (sys.executable, "-m", "bench.limited", str(upstream.port), *law)
            stack.enter_context(process(command, folder / f"{upstream.name}.log", upstream.port, "/v1/models"))
        yield upstreams


@contextmanager
def gateway(config: Mapping[str, Any], folder: Path) -> Generator[Edge]:
    """``config`` is what would be in breakwater.yaml; the ports are chosen here."""
    edge = Edge(free_port(), free_port(), folder / "gateway.log")
    server = {"port": edge.port, "admin_port": edge.admin_port, "metrics_port": None, "drain_seconds": 1}
    path = folder / "breakwater.yaml"
    path.write_text(yaml.safe_dump({**config, "server": server, "admin": {"token": TOKEN}}))
    command = (sys.executable, "-m", "app.cli.main", "serve", "--config", str(path))
    with process(command, edge.log, edge.port, "/ready"):
        yield edge


@contextmanager
def process(command: Sequence[str], log: Path, port: int, ready: str) -> Generator[int]:
    """Runs ``command`` from when ``ready`` is answered with 200 on."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with log.open("wb") as sink:
        running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT)
    try:
        give_up = time.monotonic() + START_SECONDS
        while not _answers(port, ready):
            if running.poll() is not None or time.monotonic() > give_up:
                raise SystemExit(f"{command[2]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(POLL_SECONDS)
        yield running.pid
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def ask(port: int, path: str, method: str = "GET", token: str = "", body: Any = None) -> Any:
    """``body`` is sent as JSON. Raises ``RuntimeError`` with what was said, if that is an error."""
    data = b"" if body is None else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        headers = {"authorization": f"Bearer {token}", "content-length": str(len(data))}
        connection.request(method, path, data, headers | {"content-type": "application/json"})
        response = connection.getresponse()
        told = json.loads(response.read())
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: {response.status} {told}")
        return told
    finally:
        connection.close()


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
