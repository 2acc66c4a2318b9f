"""One upstream over HTTP on aiohttp: a pool of connections, and the mapping of its exceptions to ours.

It never retries, never follows a redirect, reads no proxy settings, keeps no cookies and decompresses
nothing. It does not know what the bytes mean.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from types import TracebackType

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from providers.errors import Disconnected, Malformed, Misconfigured, ProviderError, TimedOut, Unreachable

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_ERROR_BODY_BYTES = 1024 * 1024
# llama.cpp and vLLM close idle connections after 5 s; a pool that gives up sooner never meets a stale one.
POOL_IDLE_SECONDS = 4.0
DRAIN_SECONDS = 0.25
_FOREIGN = (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValueError)


class Upstream:
    """Connections to one base URL. Headers given here go with every request."""

    def __init__(self, name: str, base_url: str, headers: Mapping[str, str]) -> None:
        self.name = name
        self._base = base_url.rstrip("/") + "/"
        self._headers = CIMultiDict({"Accept-Encoding": "identity", "Content-Type": "application/json", **headers})
        self._urls: dict[str, URL] = {}
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str], connect_timeout: float
    ) -> aiohttp.ClientResponse:
        """Send; return when status and headers have come. The caller closes the response."""
        session = self._session or self._connect()
        url = self._urls.get(path) or self._urls.setdefault(path, URL(self._base + path))
        timeout = self._timeouts.get(connect_timeout)
        if timeout is None:
            # Only the connection is bounded here; every later phase is bounded by whoever awaits it.
            timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout, sock_connect=connect_timeout)
            self._timeouts[connect_timeout] = timeout
        merged = self._headers.copy()
        merged.update(headers)
        with foreign_errors(self.name, connect_timeout):
            return await session.post(url, data=body, headers=merged, timeout=timeout, allow_redirects=False)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _connect(self) -> aiohttp.ClientSession:
        # Made at the first request: an aiohttp session belongs to the loop that is running then.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=POOL_IDLE_SECONDS, ttl_dns_cache=10),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("User-Agent",),
            max_line_size=64 * 1024,
            max_field_size=64 * 1024,
        )
        return self._session


class foreign_errors:  # noqa: N801 - used as the verb that it is
    """``with`` it: what aiohttp raises inside, at a request or while a body is read, leaves as a ``ProviderError``.

    A class, because it stands around every chunk: ``contextlib`` would make a generator each time.
    """

    __slots__ = ("_connect_timeout", "_name")

    def __init__(self, name: str, connect_timeout: float = 0.0) -> None:
        self._name = name
        self._connect_timeout = connect_timeout

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, _FOREIGN):
            raise _ours(error, self._name, self._connect_timeout) from error


def _ours(error: BaseException, name: str, connect_timeout: float) -> ProviderError:
    # Ordered: the first class that fits wins.
    match error:
        case aiohttp.ConnectionTimeoutError():
            return TimedOut("connect", connect_timeout)
        case aiohttp.ClientSSLError() | aiohttp.ClientConnectorCertificateError():
            return Unreachable(f"{name} could not be trusted: TLS failed")
        case aiohttp.ClientConnectorDNSError():
            return Unreachable(f"the host name of {name} could not be resolved")
        case aiohttp.ClientConnectorError():
            # Not strerror: under asyncio it holds the address, which is nobody's business but ours.
            reason = os.strerror(error.os_error.errno) if error.os_error.errno else "it failed"
            return Unreachable(f"no connection to {name}: {reason}")
        case aiohttp.InvalidURL():
            return Misconfigured(f"the base_url of {name} is not a URL")
        case ValueError():
            return Misconfigured(f"no request to {name} can be written: a header of it is not allowed")
        case aiohttp.ClientResponseError():
            return Malformed(f"{name} does not speak HTTP")
        case aiohttp.ClientPayloadError():
            return Disconnected(f"{name} ended its answer before it was complete")
        case _:
            return Disconnected(f"{name} closed the connection")


async def read_body(response: aiohttp.ClientResponse, limit: int, name: str) -> bytes:
    """The whole body. Raises ``Malformed`` beyond ``limit`` bytes, ``Disconnected`` if it is cut."""
    parts = []
    size = 0
    with foreign_errors(name):
        while part := await response.content.readany():
            size += len(part)
            if size > limit:
                response.close()
                raise Malformed(f"{name} answered with more than {limit} bytes")
            parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def finish(response: aiohttp.ClientResponse) -> None:
    """After the last event: wait a moment for the end of the body, so that the connection can be used again."""
    if response.content.at_eof():
        return
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while await response.content.readany():
                pass
    except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError: too late, the connection goes
        response.close()
