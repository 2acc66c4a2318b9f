"""The connect phase has its own deadline: a server that never completes the handshake."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from waiting import free_port

from providers import Endpoint, Request
from providers.errors import TimedOut, Unreachable
from providers.openai_compatible import HttpOptions, OpenAICompatible

ASK = Request("r", Endpoint.CHAT, b'{"model":"m"}', {"model": "m"}, stream=False, headers={})


@pytest.fixture
def silent() -> Iterator[int]:
    """A listener whose queue is full: the kernel answers no further SYN."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            waiting.append(one)
        yield port
        for one in waiting:
            one.close()


async def test_a_handshake_that_never_ends_is_a_connect_timeout(silent: int) -> None:
    provider = OpenAICompatible("silent", HttpOptions(f"http://127.0.0.1:{silent}/v1"))
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(TimedOut) as caught:
        await provider.open(ASK, "m", 0.3)
    assert (caught.value.phase, caught.value.label) == ("connect", "connect_timeout")
    assert 0.2 < loop.time() - began < 2
    await provider.aclose()


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/v1", "https://127.0.0.1:{port}/v1", "http://[::1]:{port}/v1"])
async def test_nobody_there_is_said_without_the_address(url: str) -> None:
    port = free_port()
    provider = OpenAICompatible("gone", HttpOptions(url.format(port=port)))
    with pytest.raises(Unreachable) as caught:
        await provider.open(ASK, "m", 1.0)
    assert str(port) not in caught.value.message
    await provider.aclose()


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    provider = OpenAICompatible("lost", HttpOptions("http://nowhere.invalid/v1"))
    with pytest.raises(Unreachable, match="host name of lost could not be resolved"):
        await provider.open(ASK, "m", 5.0)
    await provider.aclose()
