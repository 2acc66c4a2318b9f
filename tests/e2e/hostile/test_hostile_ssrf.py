"""S23 to S27: where a request goes is said by the configuration, judged after DNS, and changed by nobody.

The resolver is ours here, and so is the last step, ``sock_connect``: it writes down whom the gateway would call, and lets
nothing out of this machine.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain, cycle, repeat
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.main import create_app
from app.server.listening import bind, listening, url_of
from app.settings import SettingsError, load
from app.wiring import build
from tests.e2e.faulty import FaultyServer, completion
from tests.e2e.outside import Stage, ask, provider, replies, running
from tests.e2e.wire_http import CHAT, Response, Wire, head, post

pytestmark = pytest.mark.asyncio(loop_scope="session")

PUBLIC = "93.184.216.34"
NEVER = [
    "169.254.169.254", "169.254.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "100.100.100.200", "192.0.0.192",
    "::", "fe80::1", "ff02::1", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
]  # fmt: skip
PRIVATE = ["127.0.0.1", "127.9.9.9", "10.0.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "::1", "fd12::1",
           "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "::127.0.0.1"]  # fmt: skip


class World:
    """What names mean, and who was called. ``answers``: the addresses for each look-up, in turn."""

    def __init__(self) -> None:
        self.answers: Iterator[Sequence[str]] = repeat([])
        self.lookups: list[str] = []
        self.called: list[str] = []
        self.own_port = 0

    def getaddrinfo(self, host: str, port: int, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        self.lookups.append(host)
        found = []
        for address in next(self.answers):
            family, rest = (socket.AF_INET6, (port, 0, 0)) if ":" in address else (socket.AF_INET, (port,))
            found.append((family, socket.SOCK_STREAM, 6, "", (address, *rest)))
        return found

    async def ask(self, request: bytes) -> Response:
        async with Wire(f"http://127.0.0.1:{self.own_port}") as wire:
            await wire.send(request)
            return await wire.response()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    one = World()
    connect = asyncio.SelectorEventLoop.sock_connect

    async def sock_connect(loop: Any, sock: socket.socket, address: Any) -> None:
        if address[1] == one.own_port:
            await connect(loop, sock, address)
            return
        one.called.append(address[0])
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(socket, "getaddrinfo", one.getaddrinfo)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", sock_connect)
    monkeypatch.setattr("providers.dialing.DNS_CACHE_SECONDS", 0.0)
    return one


@asynccontextmanager
async def gateway(world: World, folder: Path, base_url: str, **more: Any) -> AsyncGenerator[None]:
    """In this process, on a real socket, with one provider."""
    config = {
        "providers": [provider("away", base_url, **more)],
        "routes": [{"model": "*", "targets": [{"provider": "away"}]}],
        "defaults": {"retry": {"max_attempts": 1}},
        "telemetry": {"access_log": False},
        "passthrough": {"provider": "away", "paths": ["/v1/files/*"]},
    }
    (folder / "breakwater.yaml").write_text(yaml.safe_dump(config))
    app = create_app(build(load(None, {}, folder).settings))
    listener = bind("127.0.0.1", 0)
    world.own_port = int(url_of(listener).rpartition(":")[2])
    async with listening(app, listener, lifespan="on"):
        yield


async def test_s24_a_public_name_never_leads_to_a_private_address(world: World, tmp_path: Path) -> None:
    async with gateway(world, tmp_path, "https://api.example.com/v1"):
        for address in [*PRIVATE, *NEVER]:
            world.answers = repeat([address])
            answer = await world.ask(post(ask("m")))
            assert answer.status == 502, address
            assert address not in answer.error["message"]
            assert world.called == [], address
        world.answers = repeat([PUBLIC])
        assert (await world.ask(post(ask("m")))).status == 502
        assert world.called == [PUBLIC], "the test itself would see a call"


async def test_s24_of_several_addresses_only_the_allowed_ones_are_called(world: World, tmp_path: Path) -> None:
    world.answers = repeat(["10.0.0.1", PUBLIC, "::1", "169.254.169.254", "2606:2800:220:1::1"])
    async with gateway(world, tmp_path, "https://api.example.com/v1"):
        await world.ask(post(ask("m")))
    assert set(world.called) <= {PUBLIC, "2606:2800:220:1::1"}
    assert world.called


async def test_s24_a_resolver_that_flips_gains_nothing(world: World, tmp_path: Path) -> None:
    """The address that was judged is the one that is called: there is no second look-up in between."""
    world.answers = cycle([[PUBLIC], ["127.0.0.1"]])
    async with gateway(world, tmp_path, "https://api.example.com/v1"):
        for _ in range(6):
            before = len(world.lookups)
            await world.ask(post(ask("m")))
            assert len(world.lookups) - before == 1
    assert world.called == [PUBLIC] * 3


async def test_s24_a_server_of_ones_own_is_reached_and_the_metadata_service_is_not(
    world: World, tmp_path: Path
) -> None:
    """Both by what is said and by what is inferred of a name without a dot."""
    for base_url, more in [("http://vllm.corp.example/v1", {"network": "private"}), ("http://vllm/v1", {})]:
        world.called.clear()
        world.answers = chain([["10.1.2.3"]], ([address] for address in NEVER))
        async with gateway(world, tmp_path, base_url, **more):
            for _ in range(len(NEVER) + 1):
                assert (await world.ask(post(ask("m")))).status == 502
        assert world.called == ["10.1.2.3"]


EGRESS = {
    "chat": post(ask("m")),
    "chat, streamed": post(ask("m", stream=True)),
    "completions": post({"model": "m", "prompt": "x"}, path="/v1/completions"),
    "embeddings": post({"model": "m", "input": "x"}, path="/v1/embeddings"),
    "responses": post({"model": "m", "input": "x"}, path="/v1/responses"),
    "passed through": head("GET /v1/files/f"),
    "an upload": post(b"x" * 1000, path="/v1/files/f"),
}


async def test_s27_the_guard_stands_at_every_way_out(world: World, tmp_path: Path) -> None:
    world.answers = repeat(["169.254.169.254"])
    async with gateway(world, tmp_path, "https://api.example.com/v1"):
        for what, request in EGRESS.items():
            before = len(world.lookups)
            answer = await world.ask(request)
            assert answer.status == 502, what
            assert answer.error["code"] == "upstream_error", what
            assert len(world.lookups) > before, what
    assert world.called == []


@pytest.mark.parametrize(
    "base_url",
    ["http://api.example.com/v1", "http://93.184.216.34/v1", "https://169.254.169.254/v1", "http://0.0.0.0/v1",
     "http://2852039166/v1", "http://0xa9.254.43518/v1", "http://[::ffff:169.254.169.254]/v1", "file:///etc/passwd",
     "ftp://api.example.com/", "https:///v1", "gopher://127.0.0.1/"],
)  # fmt: skip
async def test_s23_an_address_that_cannot_be_meant_is_refused_at_the_start(base_url: str, tmp_path: Path) -> None:
    config = {"providers": [provider("away", base_url)], "routes": [{"model": "*", "targets": [{"provider": "away"}]}]}
    (tmp_path / "breakwater.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(SettingsError, match="base_url"):
        load(None, {}, tmp_path)


FIELDS = [
    "base_url",
    "api_base",
    "api_key",
    "host",
    "url",
    "endpoint",
    "proxy",
    "provider",
    "custom_host",
    "target_url",
]
HEADERS = ["X-Forwarded-Host", "X-Original-URL", "X-Rewrite-URL", "X-Portkey-Custom-Host", "X-Provider-Base-Url", "X-Host",
           "OpenAI-Base-Url", "X-Target", "Proxy", "Destination", "Location", "Forwarded"]  # fmt: skip


async def test_s23_no_field_and_no_header_changes_where_it_goes(strict: Stage) -> None:
    """LiteLLM's api_base, Portkey's custom host: whoever could set them had the provider's key sent to him."""
    async with FaultyServer("trap", "ok") as trap:
        model = strict.play(replies(completion("hello")))
        place = trap.url.removesuffix("/v1").removeprefix("http://")
        body: dict[str, Any] = ask(model) | dict.fromkeys(FIELDS, trap.url) | {"extra_body": {"api_base": trap.url}}
        headers = [f"{name}: {trap.url}" for name in HEADERS]
        for request in (
            post(body, *headers),
            post(body, *headers).replace(b"Host: gateway", f"Host: {place}".encode()),
            post(body, path=f"http://{place}{CHAT}"),
            post(body, path=f"{CHAT}?base_url={trap.url}&api_base={trap.url}"),
        ):
            async with Wire(strict.gateway.url) as wire:
                await wire.send(request)
                assert (await wire.response()).status == 200
        assert trap.connections == 0
        for call in strict.calls(model):
            assert dict(call.headers)["host"] in strict.up.url
            assert call.head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")


async def test_s26_no_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FaultyServer("proxy", "ok") as proxy, FaultyServer("up", "ok") as up:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            for spelled in (name, name.lower()):
                monkeypatch.setenv(spelled, proxy.url.removesuffix("/v1"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        config = {"providers": [provider("up", up.url)], "routes": [{"model": "*", "targets": [{"provider": "up"}]}]}
        async with running(config, tmp_path) as one, Wire(one.url) as wire:
            for stream in (True, False):
                await wire.send(post(ask("m", stream=stream)))
                assert (await wire.response()).status == 200
        assert (proxy.connections, len(up.exchanges)) == (0, 2)
        assert json.loads(up.exchanges[0].body)["model"] == "m"
