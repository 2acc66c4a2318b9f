"""Server-sent events: cut a byte stream at its blank lines, however the bytes arrive.

Knows the framing of the WHATWG specification (LF, CRLF, CR; comments; fields) and nothing of what the
events mean. Bounded: an event larger than the limit raises ``Malformed``.
"""

from __future__ import annotations

import re

from providers.errors import Malformed

MAX_EVENT_BYTES = 4 * 1024 * 1024

# A blank line is two line ends in a row. Atomic, so that CRLF alone is never read as CR then LF.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Splitter:
    """Feed it bytes as they come; get back the whole events among them, each with its blank line."""

    __slots__ = ("_buffer", "_limit", "_scanned", "_started")

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._buffer = b""
        self._scanned = 0
        self._limit = limit
        self._started = False

    def feed(self, data: bytes) -> list[bytes]:
        if not self._started:
            data = self._buffer + data
            self._buffer = b""
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._buffer = data
                return []
            self._started = True
            data = data.removeprefix(_BOM)  # some clients lose the first event over it
        if not self._buffer and data.endswith(b"\n\n") and b"\r" not in data:  # the usual case
            if data.find(b"\n\n") == len(data) - 2:
                return [data] if len(data) <= self._limit else self._bounded([data])
            return self._bounded([part + b"\n\n" for part in data[:-2].split(b"\n\n")])
        buffer = self._buffer + data
        events = []
        start = 0
        position = self._scanned
        while (blank := _BLANK_LINE.search(buffer, position)) is not None:
            events.append(buffer[start : blank.end()])
            start = position = blank.end()
        self._buffer = buffer[start:]
        self._scanned = max(0, len(self._buffer) - 3)  # a blank line may be cut in the middle
        if len(self._buffer) > self._limit:
            raise Malformed(f"one event is larger than {self._limit} bytes")
        return self._bounded(events)

    @property
    def rest(self) -> bytes:
        """What has come since the last blank line."""
        return self._buffer

    def _bounded(self, events: list[bytes]) -> list[bytes]:
        if events and max(map(len, events)) > self._limit:
            raise Malformed(f"one event is larger than {self._limit} bytes")
        return events


def parse(event: bytes) -> tuple[bytes, bytes | None]:
    """The event as it may go to a client, and its data: the ``data:`` lines joined by LF, None if there are none.

    ``id:`` and ``retry:`` lines break an official SDK, so they are dropped; all else stays as it came.
    """
    if event.startswith(b"data:") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:  # the usual case
        return event, event[5:-2].strip()
    lines = _LINE_END.split(event)
    data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:") or line == b"data"]
    kept = [line for line in lines if not line.startswith((b"id:", b"retry:")) and line not in (b"id", b"retry")]
    if len(kept) != len(lines):
        event = b"\n".join(line for line in kept if line) + b"\n\n"
    return event, b"\n".join(data).strip() if data else None


def comments_of(event: bytes) -> bytes:
    """The comment lines of an event without data, and nothing else of it; empty if it has none."""
    lines = [line for line in _LINE_END.split(event) if line]
    comments = [line for line in lines if line.startswith(b":")]
    if len(comments) == len(lines):
        return event if lines else b""
    return b"\n".join(comments) + b"\n\n" if comments else b""


def encode(data: bytes, event: str | None = None) -> bytes:
    """One event around ``data``, which holds no line end."""
    head = b"event: " + event.encode() + b"\n" if event else b""
    return head + b"data: " + data + b"\n\n"
