"""From a base URL to a socket: resolve, judge every address, connect to the one that was judged, speak TLS if asked.

The one door to the outside: what may not be reached is refused here, after DNS, whoever asked.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar
from urllib.parse import urlsplit

import aiohappyeyeballs

from providers.errors import Misconfigured, ProviderError, TimedOut, Unreachable, Untrusted
from providers.network import network_of, refusal

DNS_CACHE_SECONDS = 10.0
# RFC 8305: how long the first address may take before the next one is tried beside it.
HAPPY_EYEBALLS_SECONDS = 0.25

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)
_Addresses = list[aiohappyeyeballs.AddrInfoType]


@lru_cache(maxsize=1)
def _trust() -> ssl.SSLContext:
    """Reading the system's certificates takes longer than many requests: once a process."""
    return ssl.create_default_context()


class Dialer:
    """``base_url`` is http or https; ``network`` is public, private or None (inferred). Raises ValueError."""

    def __init__(self, name: str, base_url: str, network: str | None) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("base_url: must be http://host or https://host")
        self._name = name
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = _trust() if parts.scheme == "https" else None
        self._network = network or network_of(base_url)
        self._addresses: _Addresses = []
        self._resolved_at = float("-inf")

    async def dial(
        self, loop: asyncio.AbstractEventLoop, protocol: Callable[[], _Protocol], seconds: float
    ) -> _Protocol:
        """A new connection. Raises ``TimedOut``, ``Unreachable`` or ``Misconfigured``; messages tell no address."""
        try:
            async with asyncio.timeout(seconds):
                return await self._connect(loop, protocol, await self._resolve(loop))
        except TimeoutError:
            raise TimedOut("connect", seconds) from None
        except (OSError, UnicodeError) as error:
            raise self._unreachable(error) from error

    async def _connect(
        self, loop: asyncio.AbstractEventLoop, protocol: Callable[[], _Protocol], addresses: _Addresses
    ) -> _Protocol:
        server_hostname = self._host if self._tls is not None else None
        if len(addresses) == 1:  # nothing to race
            host, port = addresses[0][4][:2]
            _, made = await loop.create_connection(
                protocol, str(host), int(port), ssl=self._tls, server_hostname=server_hostname
            )
            return made
        connected = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS, interleave=1, loop=loop
        )
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _, made = await loop.create_connection(
                protocol, sock=connected, ssl=self._tls, server_hostname=server_hostname
            )
        except BaseException:
            connected.close()
            raise
        return made

    async def _resolve(self, loop: asyncio.AbstractEventLoop) -> _Addresses:
        if loop.time() - self._resolved_at >= DNS_CACHE_SECONDS:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._addresses = [entry for entry in found if entry[0] in (socket.AF_INET, socket.AF_INET6)]
            self._resolved_at = loop.time()
        reasons = [refusal(str(entry[4][0]), self._network) for entry in self._addresses]
        allowed = [entry for entry, reason in zip(self._addresses, reasons, strict=True) if reason is None]
        if not allowed:
            why = next((reason for reason in reasons if reason), "it has no address")
            raise Misconfigured(f"{self._name} may not be reached: {why}")
        return allowed

    def _unreachable(self, error: OSError | UnicodeError) -> ProviderError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Untrusted(f"{self._name} could not be trusted: its certificate was refused")
        if isinstance(error, ssl.SSLError):
            return Unreachable(f"{self._name} could not be trusted: TLS failed")
        if isinstance(error, socket.gaierror | UnicodeError):  # not there, or no name at all: a label is empty
            return Unreachable(f"the host name of {self._name} could not be resolved")
        # Not the error's own words: under asyncio they hold the address, which is nobody's business but ours.
        reason = os.strerror(error.errno) if error.errno else "it failed"
        return Unreachable(f"no connection to {self._name}: {reason}")
