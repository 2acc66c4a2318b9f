"""The metrics port: beside the API, in the same process, and in nobody's way."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from waiting import free_port, refuses

from tests.e2e.harness import ROOT, Call, Gateway, chat, eventually, get

CONFIG = {
    "providers": [{"name": "mock", "kind": "mock", "ttft": 0.05, "token_interval": 0.05, "tokens": 10}],
    "routes": [{"model": "m", "targets": [{"provider": "mock"}]}],
    "server": {"drain_seconds": 5},
}


def metrics_url(gateway: Gateway) -> str:
    (line,) = [line for line in gateway.log_lines() if line["event"] == "serving"]
    return str(line["metrics"])


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Gateway]:
    gateway = Gateway(CONFIG, tmp_path)
    await gateway.start()
    yield gateway
    await gateway.terminate()


async def test_it_shows_what_the_api_did_and_serves_nothing_that_costs(running: Gateway) -> None:
    async with running.call(chat("m", stream=True), "one") as call:
        assert (await call.rest()).whole
    url = metrics_url(running)
    page = await get(url)
    assert page.status == 200
    assert 'breakwater_requests_total{route="m",target="mock/m",outcome="ok",error_source=""} 1\n' in page.body.decode()
    base = url.removesuffix("/metrics")
    assert (await get(f"{base}/health")).json == {"status": "ok"}
    async with Call(f"{base}/v1/chat/completions", chat("m", stream=False)) as call:
        answer = await call.rest()
    assert (answer.status, answer.json["error"]["code"]) == (404, "unknown_path")
    await running.terminate()
    assert not [line for line in running.log_lines() if line.get("path") == "/metrics"]


async def test_json_on_this_port_too(running: Gateway) -> None:
    async with Call(metrics_url(running), headers={"Accept": "application/json"}) as call:
        assert (await call.rest()).json["request_count"] == 0


async def test_what_is_running_is_seen(running: Gateway) -> None:
    async with running.call(chat("m", stream=True), "one") as call:
        await call.until(b'"content":"')
        assert b'breakwater_inflight{target="mock/m"} 1\n' in (await get(metrics_url(running))).body
        await call.rest()
    assert b'breakwater_inflight{target="mock/m"} 0\n' in (await get(metrics_url(running))).body


async def test_scrapers_that_never_read_hold_up_nobody(running: Gateway) -> None:
    url = metrics_url(running)
    port = int(url.split(":")[2].split("/")[0])
    asleep = []
    try:
        for _ in range(20):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            client.connect(("127.0.0.1", port))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
            asleep.append(client)
        assert (await asyncio.wait_for(get(url), 5)).status == 200
        async with running.call(chat("m", stream=False), "one") as call:
            assert (await asyncio.wait_for(call.rest(), 5)).status == 200
    finally:
        for client in asleep:
            client.close()


async def test_the_last_numbers_can_be_read_while_the_gateway_drains(tmp_path: Path) -> None:
    gateway = Gateway(CONFIG, tmp_path)
    await gateway.start()
    url = metrics_url(gateway)
    async with gateway.call(chat("m", stream=True), "last") as call:
        await eventually(gateway.in_flight)
        os.kill(gateway.pid, signal.SIGTERM)
        await eventually(lambda: refuses(gateway.port))
        assert b'breakwater_inflight{target="mock/m"} 1\n' in (await get(url)).body
        assert (await call.rest()).whole
    await gateway.gone()


def serve(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    (folder / "breakwater.yaml").write_text(yaml.safe_dump(CONFIG))
    command = [sys.executable, "-m", "app.cli.main", "serve", "--port", "0", *arguments]
    any_port = {"BREAKWATER_SERVER__ADMIN_PORT": "0"}
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **any_port, **environment}
    out = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=given, stdout=out, stderr=subprocess.STDOUT, text=True)


def test_a_port_in_use_is_said_plainly_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = serve(tmp_path, BREAKWATER_SERVER__METRICS_PORT=str(port))
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use." in output
    assert "BREAKWATER_SERVER__METRICS_PORT" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("arguments", [[], ["--workers", "2"]], ids=["null", "workers"])
async def test_without_the_port_the_api_has_the_metrics(tmp_path: Path, arguments: list[str]) -> None:
    """Off by null; and off where there are several processes, each with numbers of its own."""
    port, metrics_port = free_port(), free_port()
    setting = str(metrics_port) if arguments else "null"
    process = serve(tmp_path, "--port", str(port), *arguments, BREAKWATER_SERVER__METRICS_PORT=setting)
    try:
        await eventually(lambda: not refuses(port), within=20)
        page = (await get(f"http://127.0.0.1:{port}/metrics")).body.decode()
        assert refuses(metrics_port)
    finally:
        process.terminate()
        output, _ = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 0, output
    assert f'"metrics":"http://127.0.0.1:{port}/metrics"' in output
    workers = set(re.findall(r'worker="(\d+)"', page))
    assert len(workers) == (1 if arguments else 0)
