"""The admin API on real sockets: what operators see and do, and what traffic does then."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
import yaml
from waiting import free_port, refuses

from tests.e2e.faulty import FaultyServer
from tests.e2e.harness import ROOT, Call, Gateway, chat, eventually, get

WHY = {"reason": "a test"}
TOKEN = "hush-hush-this-is-the-token"


class Admin:
    """Two upstreams, a gateway, and its admin port. ``heavy`` has 200 times the weight of ``light``."""

    def __init__(self, gateway: Gateway, heavy: FaultyServer, light: FaultyServer) -> None:
        self.gateway = gateway
        self.heavy = heavy
        self.light = light
        self.url = admin_url(gateway)
        self.http = httpx2.AsyncClient(base_url=self.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)

    async def ask(self, request_id: str = "one", **headers: str) -> str | None:
        """Which target answered."""
        given = {name.replace("_", "-"): value for name, value in headers.items()} | {"X-Request-ID": request_id}
        async with Call(f"{self.gateway.url}/v1/chat/completions", chat("m", stream=False), given) as call:
            return (await call.rest()).headers.get("x-target")

    async def act(self, target: str, action: str, **more: Any) -> Any:
        answer = await self.http.post(f"/admin/targets/{target}/{action}", json=WHY | more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def state(self, target: str) -> str:
        targets = (await self.http.get("/admin/targets")).json()["targets"]
        return next(one["state"] for one in targets if one["target"] == target)

    async def foretold(self, request_id: str, **more: Any) -> str:
        question = {"model": "m", "headers": {"X-Request-ID": request_id}, **more}
        return str((await self.http.post("/admin/explain", json=question)).json()["target"])

    @asynccontextmanager
    async def events(self, types: str = "") -> AsyncGenerator[list[Any]]:
        """What the feed has told so far."""
        told: list[Any] = []

        async def read(response: httpx2.Response) -> None:
            async for line in response.aiter_lines():
                told.extend(json.loads(data) for data in re.findall(r"^data: (.*)", line))

        query = {"types": types} if types else {}
        async with self.http.stream("GET", "/admin/events", params=query) as response:
            assert response.status_code == 200
            task = asyncio.create_task(read(response))
            try:
                yield told
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


def admin_url(gateway: Gateway) -> str:
    (line,) = [line for line in gateway.log_lines() if line["event"] == "serving"]
    return str(line["admin"])


def config_for(heavy: str, light: str, **more: Any) -> dict[str, Any]:
    targets = [{"provider": "heavy", "model": "h", "weight": 200}, {"provider": "light", "model": "l", "weight": 1}]
    return {
        "providers": [
            {"name": "heavy", "kind": "openai-compatible", "base_url": heavy},
            {"name": "light", "kind": "openai-compatible", "base_url": light},
        ],
        "routes": [{"model": "m", "targets": targets}],
        "defaults": {"retry": {"backoff": {"base": 0}}},
        "admin": {"token": TOKEN},
        "server": {"drain_seconds": 5},
        **more,
    }


@pytest_asyncio.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Admin]:
    async with FaultyServer("heavy", "ok") as heavy, FaultyServer("light", "ok") as light:
        gateway = Gateway(config_for(heavy.url, light.url), tmp_path)
        await gateway.start()
        one = Admin(gateway, heavy, light)
        async with one.http:
            yield one
        await gateway.terminate()


async def test_a_breaker_that_trips_is_seen_within_a_second_and_spares_its_target(admin: Admin) -> None:
    async with admin.events("breaker_moved") as told:
        admin.heavy.fault = "status_500"
        for n in range(5):
            assert await admin.ask(f"r{n}") == "light/l"  # the client sees nothing of it
        assert len(admin.heavy.exchanges) == 5
        await eventually(lambda: told, within=1)
        moved = told[0]
        assert (moved["target"], moved["before"], moved["after"]) == ("heavy/h", "closed", "open")
        assert (moved["reason"], moved["failures"]) == ("5 failures in a row", 5)
        assert await admin.state("heavy/h") == "ejected"
        for n in range(20):
            assert await admin.ask(f"after-{n}") == "light/l"
        assert len(admin.heavy.exchanges) == 5


async def test_forced_open_the_very_next_request_goes_elsewhere(admin: Admin) -> None:
    assert await admin.ask() == "heavy/h"
    before = len(admin.heavy.exchanges)
    assert (await admin.act("heavy/h", "open"))["state"] == "forced_open"
    for n in range(20):
        assert await admin.ask(f"r{n}") == "light/l"
    assert len(admin.heavy.exchanges) == before
    assert (await admin.act("heavy/h", "close"))["state"] == "ok"
    assert await admin.ask() == "heavy/h"


async def test_a_ttl_ends_by_itself(admin: Admin) -> None:
    await admin.act("heavy/h", "drain", ttl=0.5)
    assert await admin.ask() == "light/l"

    async def back() -> bool:
        return await admin.ask() == "heavy/h"

    await eventually(back, within=3)


async def test_drained_the_streams_that_run_go_on(admin: Admin) -> None:
    admin.heavy.fault = "hang_after_content"
    async with Call(
        f"{admin.gateway.url}/v1/chat/completions", chat("m", stream=True), {"X-Request-ID": "one"}
    ) as call:
        await call.until(b'"content"')
        await admin.act("heavy/h", "drain")
        targets = (await admin.http.get("/admin/targets")).json()["targets"]
        assert [(one["target"], one["state"], one["in_flight"]) for one in targets] == [
            ("heavy/h", "drained", 1),
            ("light/l", "ok", 0),
        ]
        admin.heavy.fault = "ok"
        assert await admin.ask() == "light/l"
        assert not call.whole
    await admin.act("heavy/h", "undrain")
    assert await admin.ask() == "heavy/h"


async def test_weights_move_the_traffic(admin: Admin) -> None:
    answer = await admin.http.patch("/admin/routes/m/weights", json={"heavy": 1, "light": 3})
    assert answer.json()["weights"] == {"heavy/h": 1.0, "light/l": 3.0}
    seen = Counter([await admin.ask(f"r{n}") for n in range(200)])
    assert 110 <= seen["light/l"] <= 190


async def test_explain_foretells_the_next_two_hundred_requests(admin: Admin) -> None:
    await admin.http.patch("/admin/routes/m/weights", json={"heavy": 1, "light": 1})
    ids = [f"request-{n}" for n in range(200)]
    foretold = [await admin.foretold(one) for one in ids]
    assert not admin.heavy.exchanges
    assert not admin.light.exchanges
    assert [await admin.ask(one) for one in ids] == foretold
    assert 60 < foretold.count("heavy/h") < 140


async def test_a_dry_run_foretells_what_another_configuration_then_does(admin: Admin, tmp_path: Path) -> None:
    other = config_for(admin.heavy.url, admin.light.url, seed=7)
    other["routes"][0]["targets"][0]["weight"] = 2
    other["routes"][0]["targets"].append({"provider": "light", "model": "new", "weight": 2})
    ids = [f"request-{n}" for n in range(200)]
    foretold = [await admin.foretold(one, config=yaml.safe_dump(other)) for one in ids]
    assert set(foretold) == {"heavy/h", "light/l", "light/new"}
    assert {await admin.ask(one) for one in ids[:20]} <= {"heavy/h", "light/l"}  # nothing has changed here
    (tmp_path / "other").mkdir()
    gateway = Gateway(other, tmp_path / "other")
    await gateway.start()
    served = Admin(gateway, admin.heavy, admin.light)
    async with served.http:
        assert [await served.ask(one) for one in ids] == foretold
    await gateway.terminate()


async def test_one_request_is_explained_from_its_record(admin: Admin) -> None:
    admin.heavy.fault = "status_503"
    await admin.ask("explained")
    record = (await admin.http.get("/admin/requests/explained")).json()
    assert [(step["target"], step["label"]) for step in record["steps"]] == [("heavy/h", "503"), ("light/l", "200")]
    assert (record["result"]["target"], record["result"]["route_reason"]) == ("light/l", "failover")
    text = (await admin.http.get("/admin/requests/explained", params={"format": "text"})).text
    assert "1. heavy/h: 503 in " in text
    assert "   not heavy/h: tried: 503" in text
    assert "Result: 200 from light/l (failover)" in text


async def test_the_command_asks_the_gateway_that_runs(admin: Admin, tmp_path: Path) -> None:
    await admin.act("heavy/h", "drain")
    other = config_for(admin.heavy.url, admin.light.url)
    other["routes"][0]["targets"][1]["weight"] = 0
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))

    async def explain(*arguments: str, token: str = TOKEN) -> tuple[int, str]:
        command = [sys.executable, "-m", "app.cli.main", "explain", "--url", admin.url, "--model", "m", *arguments]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "BREAKWATER_ADMIN__TOKEN": token}
        out = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=out, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    status, output = await explain("--header", "X-Request-ID: one")
    assert status == 0, output
    assert re.search(r"heavy/h +0 +200 +drained", output)
    assert re.search(r"light/l +0 +1 +100\.0% +picked", output)
    status, output = await explain("--json")
    assert json.loads(output)["target"] == "light/l"
    status, output = await explain("--config", str(tmp_path / "other.yaml"))
    assert status == 0
    assert "no target can serve 'm' now: drained" in output
    status, output = await explain(token="wrong-wrong-wrong")
    assert status == 1
    assert "says no (401)" in output
    assert "wrong-wrong" not in output


async def test_who_has_no_token_gets_nothing(admin: Admin) -> None:
    for headers in ({}, {"Authorization": "Bearer nothing-of-this-is-right"}):
        async with Call(f"{admin.url}/admin/targets", headers=headers) as call:
            answer = await call.rest()
        assert (answer.status, answer.json["error"]["code"]) == (401, "invalid_admin_token")
        assert b"heavy" not in answer.body
    refused = [line for line in admin.gateway.log_lines() if line["event"] == "admin refused"]
    assert [line["reason"] for line in refused] == ["invalid_admin_token"] * 2


async def test_s2_the_data_port_has_none_of_it(admin: Admin) -> None:
    paths = list((await admin.http.get("/openapi.json")).json()["paths"])
    assert len(paths) > 10
    for path in paths:
        if path != "/":
            async with Call(f"{admin.gateway.url}{path}", headers={"Authorization": f"Bearer {TOKEN}"}) as call:
                answer = await call.rest()
            assert (answer.status, answer.json["error"]["code"]) == (404, "unknown_path"), path


async def test_s28_the_token_is_in_no_log_and_no_answer(admin: Admin) -> None:
    await admin.act("heavy/h", "drain")
    await admin.http.get("/admin/nothing")
    await admin.http.get(f"/admin/targets?token={TOKEN}")
    for path in ("/admin/config", "/admin/audit", "/admin/targets", "/"):
        assert TOKEN not in (await admin.http.get(path)).text
    assert TOKEN not in admin.gateway.output


async def test_what_was_done_is_one_line_in_the_log(admin: Admin) -> None:
    await admin.act("heavy/h", "drain", ttl=60)
    (line,) = [line for line in admin.gateway.log_lines() if line["event"] == "admin action"]
    assert {name: line[name] for name in ("action", "target", "reason", "ttl", "outcome", "who", "client")} == {
        "action": "drain",
        "target": "heavy/h",
        "reason": "a test",
        "ttl": 60.0,
        "outcome": "drained",
        "who": "admin",
        "client": "127.0.0.1",
    }


async def test_a_large_body_is_cut_off_and_traffic_goes_on(admin: Admin) -> None:
    async def bomb() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b"x" * 65536

    answer = await admin.http.post("/admin/explain", content=bomb())
    assert answer.status_code == 413
    deep = await admin.http.post("/admin/config/check", json={"config": "[" * 50_000})
    assert deep.json()["usable"] is False
    assert await admin.ask() == "heavy/h"


async def test_watchers_that_never_read_hold_up_nobody(admin: Admin) -> None:
    port = int(admin.url.rpartition(":")[2])
    asleep = []
    try:
        for _ in range(20):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            client.connect(("127.0.0.1", port))
            client.sendall(
                f"GET /admin/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
            )
            asleep.append(client)
        for n in range(300):
            assert await asyncio.wait_for(admin.ask(f"r{n}"), 5)
        answer = await admin.http.get("/admin/events")
        assert answer.json()["error"]["code"] == "too_many_watchers"
    finally:
        for client in asleep:
            client.close()

    async def room() -> bool:
        async with admin.http.stream("GET", "/admin/events") as response:
            return response.status_code == 200

    await eventually(room, within=5)


async def test_a_signal_ends_the_feed_with_a_last_word(admin: Admin) -> None:
    async with admin.events() as told:
        os.kill(admin.gateway.pid, signal.SIGTERM)
        await eventually(lambda: told, within=5)
        assert told[-1]["type"] == "closed"
        await admin.gateway.gone()


def serve(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    config = config_for("http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1")
    (folder / "breakwater.yaml").write_text(yaml.safe_dump(config | {"admin": {}}))
    command = [sys.executable, "-m", "app.cli.main", "serve", *arguments]
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "BREAKWATER_SERVER__METRICS_PORT": "0"}
    out = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=own | environment, stdout=out, stderr=out, text=True)


async def test_a_token_is_made_and_told_once_and_not_in_the_log(tmp_path: Path) -> None:
    port, admin_port = free_port(), free_port()
    process = serve(tmp_path, "--port", str(port), BREAKWATER_SERVER__ADMIN_PORT=str(admin_port))
    try:
        await eventually(lambda: not refuses(port), within=20)
        assert process.stderr is not None
        told = ""
        while "token" not in told:
            told = await asyncio.to_thread(process.stderr.readline)
        token = told.split()[-1]
        async with Call(
            f"http://127.0.0.1:{admin_port}/admin/config", headers={"Authorization": f"Bearer {token}"}
        ) as call:
            assert (await call.rest()).status == 200
    finally:
        process.terminate()
        output, errors = await asyncio.to_thread(process.communicate, timeout=20)
    assert len(token) >= 32
    assert token not in output + errors
    assert f'"admin":"http://127.0.0.1:{admin_port}"' in output


@pytest.mark.parametrize(
    ("arguments", "setting", "why"),
    [
        ((), "null", "off: server.admin_port is null"),
        (("--workers", "2"), None, "off: it would show one of several workers only"),
    ],
    ids=["null", "workers"],
)
async def test_without_the_port_the_start_says_why(
    tmp_path: Path, arguments: tuple[str, ...], setting: str | None, why: str
) -> None:
    port, admin_port = free_port(), free_port()
    own = {"BREAKWATER_SERVER__ADMIN_PORT": setting or str(admin_port)}
    process = serve(tmp_path, "--port", str(port), *arguments, **own)
    try:
        await eventually(lambda: not refuses(port), within=20)
        assert (await get(f"http://127.0.0.1:{port}/health")).status == 200
        assert refuses(admin_port)
    finally:
        process.terminate()
        output, errors = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 0, errors
    assert f'"admin":"{why}"' in output
    assert "token" not in errors


def test_a_port_in_use_is_said_plainly_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = serve(tmp_path, "--port", "0", BREAKWATER_SERVER__ADMIN_PORT=str(port))
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use." in errors
    assert "BREAKWATER_SERVER__ADMIN_PORT" in errors
    assert "Traceback" not in errors


async def test_the_port_is_on_loopback_wherever_the_api_is(tmp_path: Path) -> None:
    port, admin_port = free_port(), free_port()
    process = serve(tmp_path, "--host", "127.0.0.2", "--port", str(port), BREAKWATER_SERVER__ADMIN_PORT=str(admin_port))
    try:
        await eventually(lambda: answers("127.0.0.2", port), within=20)
        assert answers("127.0.0.1", admin_port)
        assert not answers("127.0.0.2", admin_port)
    finally:
        process.terminate()
        await asyncio.to_thread(process.communicate, timeout=20)


def answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
