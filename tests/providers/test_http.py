"""The parts of the HTTP client that need no socket; the rest is tested end to end."""

from __future__ import annotations

import asyncio
import ssl
from types import SimpleNamespace

import aiohttp
import pytest
from worlds import on_virtual_clock

from providers.errors import Disconnected, Malformed, Misconfigured, TimedOut, Unreachable
from providers.http import DRAIN_SECONDS, finish, foreign_errors, read_body

KEY = SimpleNamespace(host="secret.internal", port=443, ssl=True, is_ssl=True)
REQUEST = SimpleNamespace(real_url="http://secret.internal/v1?key=sk-secret")

FOREIGN = [
    (aiohttp.ConnectionTimeoutError(), TimedOut, "connect took longer than 2.5 s"),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "bad record")), Unreachable, "TLS failed"),
    (aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("host")), Unreachable, "TLS failed"),
    (
        aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "Name or service not known")),
        Unreachable,
        "could not be resolved",
    ),
    (aiohttp.ClientConnectorError(KEY, OSError(111, "secret: ('10.0.0.7', 80)")), Unreachable, "Connection refused"),
    (aiohttp.ClientConnectorError(KEY, OSError()), Unreachable, "it failed"),
    (aiohttp.InvalidURL("no url"), Misconfigured, "not a URL"),
    (aiohttp.ClientResponseError(REQUEST, (), message="sk-secret"), Malformed, "does not speak HTTP"),
    (aiohttp.ClientPayloadError("sk-secret"), Disconnected, "before it was complete"),
    (aiohttp.ServerDisconnectedError(), Disconnected, "closed the connection"),
    (aiohttp.ClientOSError(104, "reset"), Disconnected, "closed the connection"),
    (ConnectionResetError(), Disconnected, "closed the connection"),
    (BrokenPipeError(), Disconnected, "closed the connection"),
    (asyncio.IncompleteReadError(b"", 5), Disconnected, "closed the connection"),
]


@pytest.mark.parametrize(("error", "kind", "words"), FOREIGN, ids=lambda value: type(value).__name__)
def test_what_aiohttp_raises_becomes_ours_and_tells_no_address(error, kind, words):
    with pytest.raises(kind, match=words) as ours, foreign_errors("up", 2.5):
        raise error
    assert type(ours.value) is kind
    assert ours.value.__cause__ is error
    assert "secret" not in ours.value.message


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), KeyboardInterrupt(), ZeroDivisionError(), Malformed("ours")], ids=repr
)
def test_cancellation_mistakes_and_our_own_errors_pass_unchanged(error):
    with pytest.raises(type(error)) as passed, foreign_errors("up"):
        raise error
    assert passed.value is error


class Body:
    """A response whose body comes in ``parts``: bytes, an error to raise, or seconds to wait first."""

    def __init__(self, *parts):
        self.content = self
        self.closed = False
        self._parts = list(parts)

    async def readany(self):
        if self._parts and isinstance(self._parts[0], float):
            await asyncio.sleep(self._parts.pop(0))
        part = self._parts.pop(0) if self._parts else b""
        if isinstance(part, Exception):
            raise part
        return part

    def at_eof(self):
        return not self._parts

    def close(self):
        self.closed = True


@pytest.mark.parametrize(("parts", "whole"), [([], b""), ([b"a"], b"a"), ([b"a", 1.0, b"b", b"c"], b"abc")], ids=repr)
@on_virtual_clock
async def test_a_body_is_read_to_its_end(parts, whole):
    assert await read_body(Body(*parts), 3, "up") == whole


@on_virtual_clock
async def test_a_body_beyond_the_limit_is_not_read_on():
    body = Body(b"aa", b"bb", b"never")
    with pytest.raises(Malformed, match="more than 3 bytes"):
        await read_body(body, 3, "up")
    assert body.closed
    assert not body.at_eof()


@on_virtual_clock
async def test_a_body_that_is_cut_is_a_broken_connection():
    with pytest.raises(Disconnected):
        await read_body(Body(b"aa", aiohttp.ClientPayloadError("x")), 99, "up")


@pytest.mark.parametrize(
    ("parts", "closed", "seconds"),
    [
        ([], False, 0.0),
        ([b"rest", b""], False, 0.0),
        ([0.1, b"\n", 0.1, b""], False, 0.2),
        ([60.0, b""], True, DRAIN_SECONDS),
        ([0.1, b"a", 60.0], True, DRAIN_SECONDS),
        ([aiohttp.ClientPayloadError("x")], True, 0.0),
        ([ConnectionResetError()], True, 0.0),
    ],
    ids=repr,
)
@on_virtual_clock
async def test_after_the_last_event_the_connection_is_kept_only_if_the_body_ends_soon(parts, closed, seconds):
    body = Body(*parts)
    await finish(body)
    assert body.closed is closed
    assert asyncio.get_running_loop().time() == pytest.approx(seconds)


@on_virtual_clock
async def test_cancelling_the_wait_for_the_end_is_not_swallowed():
    task = asyncio.create_task(finish(Body(60.0)))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
