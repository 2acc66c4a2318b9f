"""Which addresses a provider may be reached at. Pure: no socket, no DNS.

    never    link-local and metadata services, unspecified, multicast, reserved, documentation and benchmark nets
    private  loopback, RFC 1918, carrier-grade NAT (RFC 6598), unique local (RFC 4193)
    public   everything else; by the IANA special-purpose address registries

``network: public`` reaches public addresses only, ``private`` both.
"""

from __future__ import annotations

import re
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal
from urllib.parse import urlsplit

Network = Literal["public", "private"]

_PRIVATE_NAMES = (".local", ".localhost", ".internal", ".svc", ".cluster.local", ".lan", ".home.arpa")
# How inet_aton, and so every resolver, lets people spell IPv4: 127.1, 0x7f.1, 0177.0.0.1, 2130706433.
_NUMERIC = re.compile(r"(?:0x[0-9a-f]+|[0-9]+)(?:\.(?:0x[0-9a-f]+|[0-9]+)){0,3}")

_NEVER: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "a cloud's metadata or platform service",
        ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    ),
    ("link-local, where metadata services live", ("169.254.0.0/16", "fe80::/10")),
    ("unspecified", ("0.0.0.0/8", "::/128")),
    ("multicast", ("224.0.0.0/4", "ff00::/8")),
    ("for documentation", ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")),
    ("for benchmarks", ("198.18.0.0/15", "2001:2::/48")),
    # Broadcast is in the first, all that is not global unicast in the last, whatever it may become.
    ("reserved", ("240.0.0.0/4", "192.0.0.0/24", "192.88.99.0/24", "2001::/23")),
)
_PRIVATE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("loopback", ("127.0.0.0/8", "::1/128")),
    ("private", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")),
    ("shared by carriers (100.64.0.0/10)", ("100.64.0.0/10",)),
)
_Rows = tuple[tuple[IPv4Network | IPv6Network, str], ...]
_NEVER_ROWS: _Rows = tuple((ip_network(net), what) for what, nets in _NEVER for net in nets)
_PRIVATE_ROWS: _Rows = tuple((ip_network(net), what) for what, nets in _PRIVATE for net in nets)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_LAST_32_BITS = tuple(map(IPv6Network, ("::/96", "::ffff:0:0/96", "64:ff9b::/96")))  # compatible, mapped, NAT64


def network_of(base_url: str) -> Network:
    """What to assume of a URL that says nothing: private if its host is a name or an address of one's own network."""
    host = _host(base_url)
    address = literal(base_url)
    if address is not None:
        return "public" if refusal(address, "public") is None else "private"
    return "private" if "." not in host or f".{host}".endswith(_PRIVATE_NAMES) else "public"


def literal(base_url: str) -> str | None:
    """The IP address that the host of ``base_url`` is, however it is spelled; None if it is a name."""
    host = _host(base_url)
    try:
        return str(IPv4Address(socket.inet_aton(host)) if _NUMERIC.fullmatch(host) else ip_address(host))
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=1024)
def refusal(address: str, network: str) -> str | None:
    """Why no connection to ``address``, an IP address, may be made; None if it may. Tells no address."""
    try:
        judged = _inner(ip_address(address))
    except ValueError:
        return "its address is no IP address"
    if (never := _found(judged, _NEVER_ROWS)) is not None:
        return f"its address is {never}; that is never allowed"
    if (private := _found(judged, _PRIVATE_ROWS)) is not None:
        if network == "private":
            return None
        return f"its address is {private}; write `network: private` if the server is in your own network"
    if isinstance(judged, IPv6Address) and judged not in _GLOBAL_UNICAST:
        return "its address is reserved; that is never allowed"
    return None


def _host(base_url: str) -> str:
    """As a resolver gets it: without a final dot, other scripts' digits and dots made plain."""
    host = (urlsplit(base_url).hostname or "").partition("%")[0]
    try:
        host = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:  # no name at all; DNS will say so
        return host
    return host.removesuffix(".")


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one carries, where a packet to it would end."""
    if isinstance(address, IPv4Address) or int(address) <= 1:  # :: and ::1 carry none
        return address
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    return IPv4Address(int(address) & 0xFFFFFFFF) if any(address in net for net in _LAST_32_BITS) else address


def _found(address: IPv4Address | IPv6Address, rows: _Rows) -> str | None:
    return next((what for net, what in rows if address in net), None)
