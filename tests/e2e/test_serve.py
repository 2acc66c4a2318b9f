"""The process: how it starts, how it refuses to, and how it leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from waiting import free_port, refuses

from tests.e2e.harness import ROOT, Call, Gateway, chat, eventually, get

SLOWLY = {
    "providers": [{"name": "slow", "kind": "mock", "ttft": 0.05, "token_interval": 0.06, "tokens": 20}],
    "routes": [{"model": "m", "targets": [{"provider": "slow"}]}],
    "server": {"drain_seconds": 5},
}


@pytest.mark.parametrize("stream", [True, False])
async def test_sigterm_lets_running_requests_finish_and_takes_no_new_ones(tmp_path: Path, stream: bool) -> None:
    gateway = Gateway(SLOWLY, tmp_path)
    await gateway.start()
    async with gateway.call(chat("m", stream=stream), "last") as call:
        await eventually(gateway.in_flight)
        os.kill(gateway.pid, signal.SIGTERM)
        await eventually(lambda: refuses(gateway.port))
        answer = await call.rest()
    assert answer.status == 200
    assert answer.whole
    assert answer.text
    assert not stream or answer.data[-1] == "[DONE]"
    await gateway.terminate()
    assert (await gateway.log_line("last"))["end"] == "complete"


async def test_a_stream_that_outlasts_the_drain_is_cut_and_looks_cut(tmp_path: Path) -> None:
    config = SLOWLY | {"server": {"drain_seconds": 1}}
    config["providers"] = [{"name": "slow", "kind": "mock", "ttft": 0.05, "token_interval": 1.5, "tokens": 20}]
    gateway = Gateway(config, tmp_path)
    await gateway.start()
    async with gateway.call(chat("m", stream=True), "long") as call:
        await call.until(b'"content":"')
        os.kill(gateway.pid, signal.SIGTERM)
        answer = await call.rest()
    assert not answer.whole
    assert "[DONE]" not in answer.data
    await gateway.gone()
    line = await gateway.log_line("long")
    assert (line["status"], line["end"]) == (200, "cut")


async def test_behind_a_trusted_proxy_the_log_names_the_client_and_the_drain_still_works(tmp_path: Path) -> None:
    gateway = Gateway(SLOWLY | {"server": {"trusted_proxies": ["127.0.0.0/8"]}}, tmp_path)
    await gateway.start()
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Request-ID": "proxied"}
    async with Call(f"{gateway.url}/v1/chat/completions", chat("m", stream=False), headers) as call:
        assert (await call.rest()).status == 200
    assert (await gateway.log_line("proxied"))["client"] == "203.0.113.7"
    await gateway.terminate()
    assert any(line["event"] == "draining" for line in gateway.log_lines())


async def test_nobody_else_is_believed_about_the_client(tmp_path: Path) -> None:
    gateway = Gateway(SLOWLY, tmp_path)
    await gateway.start()
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Request-ID": "forged"}
    async with Call(f"{gateway.url}/v1/chat/completions", chat("m", stream=False), headers) as call:
        await call.rest()
    assert (await gateway.log_line("forged"))["client"] == "127.0.0.1"
    await gateway.terminate()


@pytest.mark.parametrize("size", [1_500_000, 12_000_000])
async def test_a_body_over_the_cap_gets_its_answer_and_no_reset(tmp_path: Path, size: int) -> None:
    gateway = Gateway(SLOWLY | {"server": {"max_body_mb": 1}}, tmp_path)
    await gateway.start()
    async with gateway.call(chat("m", stream=False, words="x" * size), "large") as call:
        answer = await call.rest()
    assert (answer.status, answer.json["error"]["code"]) == (413, "request_too_large")
    assert answer.headers["connection"] == "close"
    async with gateway.call(chat("m", stream=False), "small") as call:
        assert (await call.rest()).status == 200
    await gateway.terminate()


async def test_an_idle_gateway_leaves_at_once(tmp_path: Path) -> None:
    gateway = Gateway(SLOWLY, tmp_path)
    await gateway.start()
    started = time.monotonic()
    await gateway.terminate()
    assert time.monotonic() - started < 2


async def test_several_workers_serve_and_leave_together(tmp_path: Path) -> None:
    port = free_port()
    process = _serve(tmp_path, "--workers", "2", "--port", str(port))
    try:
        await eventually(lambda: not refuses(port), within=20)
        url = f"http://127.0.0.1:{port}"
        answers = await asyncio.gather(*(_ask(f"{url}/v1/chat/completions") for _ in range(20)))
        assert set(answers) == {200}
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 0, output
    assert "Traceback" not in output


async def test_several_workers_finish_what_runs_and_take_no_new_connections(tmp_path: Path) -> None:
    """Once: the parent kept listening, so that new connections were accepted and never answered."""
    (tmp_path / "breakwater.yaml").write_text(yaml.safe_dump(SLOWLY))
    port = free_port()
    process = _serve(tmp_path, "--workers", "2", "--port", str(port))
    await eventually(lambda: not refuses(port), within=20)
    async with Call(f"http://127.0.0.1:{port}/v1/chat/completions", chat("m", stream=True)) as call:
        await call.until(b'"content":"')
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: refuses(port), within=3)
        answer = await call.rest()
    assert answer.whole
    assert answer.data[-1] == "[DONE]"
    output, _ = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 0, output
    assert "Traceback" not in output


async def test_ready_to_serve_soon_after_the_start(tmp_path: Path) -> None:
    gateway = Gateway(SLOWLY, tmp_path)
    started = time.monotonic()
    await gateway.start()
    print(f"ready after {time.monotonic() - started:.2f} s")
    assert (await get(f"{gateway.url}/ready")).status == 200
    await gateway.terminate()


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--host", "0.0.0.0"], {}, "no authentication yet"),
        (["--host", "192.0.2.1"], {}, "no authentication yet"),
        ([], {"GATEWAY_API_KEYS": "abc"}, "no authentication"),
        ([], {"BREAKWATER_SERVER__PROT": "8080"}, "did you mean"),
        (["--config", "nowhere.yaml"], {}, "nowhere.yaml"),
    ],
)
def test_it_does_not_start_unsafe_or_wrong(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    process = _serve(tmp_path, *arguments, **environment)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said in output
    assert "Traceback" not in output
    assert "abc" not in output


def test_a_port_in_use_is_said_plainly(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = _serve(tmp_path, "--port", str(taken.getsockname()[1]))
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "Address already in use" in output
    assert "Traceback" not in output


def _serve(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "app.cli.main", "serve", *arguments]
    any_port = {"BREAKWATER_SERVER__METRICS_PORT": "0", "BREAKWATER_SERVER__ADMIN_PORT": "0"}
    inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **any_port, **environment}
    out = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=inherited, stdout=out, stderr=subprocess.STDOUT, text=True)


async def _ask(url: str) -> int:
    async with Call(url, chat("demo", stream=False), {"X-Provider-Priority": "echo"}) as call:
        return (await call.rest()).status
