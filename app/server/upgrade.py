"""Upgrades are not on offer, and a request that asks for one is served as HTTP/1.1 (RFC 9110, 7.8).

But the parser takes whatever follows such a head for the other protocol; so a second one reads the body.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import httptools

_FRAMING = (b"content-length", b"transfer-encoding")

Headers = Iterable[tuple[bytes, bytes]]


class Reader(Protocol):
    def on_body(self, body: bytes) -> None: ...
    def on_message_complete(self) -> None: ...


class _Body:
    """Of all that a parser tells, the body alone."""

    def __init__(self, reader: Reader) -> None:
        self.on_body = reader.on_body
        self.on_message_complete = reader.on_message_complete


def has_body(headers: Headers) -> bool:
    return any(name in _FRAMING and value != b"0" for name, value in headers)


def body_parser(reader: Reader, headers: Headers) -> httptools.HttpRequestParser:
    """A parser that stands where the body with these ``headers`` begins."""
    parser = httptools.HttpRequestParser(_Body(reader))
    framing = b"".join(b"%b: %b\r\n" % (name, value) for name, value in headers if name in _FRAMING)
    parser.feed_data(b"POST / HTTP/1.1\r\nhost: -\r\nconnection: close\r\n" + framing + b"\r\n")
    return parser
