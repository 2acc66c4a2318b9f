"""HTTP/1.1 as it is on the wire: a socket that sends any bytes, and parsers that share nothing with the gateway's.

Wire     one connection: send what you like, read responses as HTTP says that they end
events   what a browser makes of a stream (WHATWG), so that answers cut up in different ways can be compared
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

CHAT = "/v1/chat/completions"
PATIENCE = 15.0  # seconds

# --- what is sent ------------------------------------------------------------------------------------------------


def head(line: str, *headers: str, host: str | None = "gateway") -> bytes:
    """A request's head. ``headers`` are whole lines."""
    lines = [f"{line} HTTP/1.1", *([f"Host: {host}"] if host is not None else []), *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(body: bytes | Mapping[str, Any], *headers: str, path: str = CHAT) -> bytes:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(f"POST {path}", "Content-Type: application/json", f"Content-Length: {len(payload)}", *headers) + payload


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# --- what comes back ---------------------------------------------------------------------------------------------


@dataclass
class Response:
    """``whole``: it ended as HTTP says it must. ``interim``: the 1xx that came before."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    whole: bool = False
    interim: list[int] = field(default_factory=list)

    def header(self, name: str) -> str:
        """Its only value, or "" if it has none."""
        values = [value for given, value in self.headers if given == name]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object, after checking that it is one in the one shape."""
        assert self.header("content-type") == "application/json", self.headers
        return error_in(self.json)

    @property
    def data(self) -> list[str]:
        return [event.data for event in events(self.body)]


def error_in(payload: Any) -> dict[str, Any]:
    error: dict[str, Any] = payload["error"]
    assert set(payload) == {"error"}
    assert set(error) == {"message", "type", "param", "code"}, error
    assert error["message"]
    assert isinstance(error["message"], str)
    assert isinstance(error["type"], str)
    for name in ("param", "code"):
        assert error[name] is None or isinstance(error[name], str), error
    return error


class Wire:
    """One connection to ``url``. ``receive_bytes`` makes the kernel's buffer small, for readers that stop."""

    def __init__(self, url: str, receive_bytes: int | None = None) -> None:
        parts = urlsplit(url)
        self._where = (parts.hostname, parts.port)
        self._receive_bytes = receive_bytes

    async def __aenter__(self) -> Self:
        raw = socket.socket()
        raw.setblocking(False)
        if self._receive_bytes is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
            # As on a real network: loopback's segments of 64 KiB make the other end's kernel buffer megabytes.
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        await asyncio.get_running_loop().sock_connect(raw, self._where)
        self._reader, self._writer = await asyncio.open_connection(sock=raw, limit=2**17)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Raises ConnectionError if the gateway has closed."""
        self._writer.write(data)
        await self._writer.drain()
        await asyncio.sleep(0)  # what has come meanwhile is read first: a later reset would take it away

    async def drip(self, data: bytes, seconds: float) -> int:
        """One byte each ``seconds`` until the gateway answers or closes, which it must do; how many it took."""
        answered = asyncio.ensure_future(self._reader.read(1))
        for sent, byte in enumerate(data):
            if (await asyncio.wait({answered}, timeout=seconds))[0]:
                self._first = await answered
                return sent
            await self.send(bytes([byte]))
        raise AssertionError(f"it took all {len(data)} bytes at this pace")

    _first = b""

    def half_close(self) -> None:
        self._writer.write_eof()

    def stop_reading(self) -> None:
        """Nothing is taken from the kernel any more, so its buffer fills."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def read_on(self) -> None:
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    @property
    def takes_more(self) -> bool:
        """False while what was sent waits in our own buffer, because nobody reads at the other end."""
        return self._writer.transport.get_write_buffer_size() == 0

    async def response(self, *, bodiless: bool = False) -> Response:
        """Raises ConnectionError if the connection ended before any."""
        interim: list[int] = []
        async with asyncio.timeout(PATIENCE):
            while (answer := await self._head()).status < 200:
                interim.append(answer.status)
            answer.interim = interim
            if bodiless:
                answer.whole = True
            else:
                async for part in self.parts(answer):
                    answer.body += part
        return answer

    async def begun(self) -> Response:
        """The head alone; ``more`` brings the rest."""
        async with asyncio.timeout(PATIENCE):
            return await self._head()

    async def more(self, answer: Response, until: bytes) -> None:
        """Read on until ``until`` is in the body."""
        async with asyncio.timeout(PATIENCE):
            while until not in answer.body:
                part = await self._chunk()
                assert part, f"no {until!r} in {answer.body!r}"
                answer.body += part

    async def some(self) -> bytes:
        """Whatever has come, at least a byte; nothing if the connection has ended."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self._reader.read(65_536)
            except ConnectionError:
                return b""

    async def closed(self) -> bytes:
        """What comes until the gateway closes, which it must do."""
        async with asyncio.timeout(PATIENCE):
            try:
                return self._first + await self._reader.read(-1)
            except ConnectionError:
                return b""

    async def _head(self) -> Response:
        try:
            whole = self._first + await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise ConnectionError(f"closed after {self._first + error.partial!r}") from None
        self._first = b""
        line, *lines = whole.decode("latin-1").split("\r\n")[:-2]
        version, status, _ = line.split(" ", 2)
        assert version == "HTTP/1.1"
        pairs = [one.split(":", 1) for one in lines]
        return Response(int(status), [(name.lower(), value.strip()) for name, value in pairs])

    async def parts(self, answer: Response) -> AsyncIterator[bytes]:
        """The body as it comes; then ``answer.whole`` says whether that was all."""
        lengths = [value for name, value in answer.headers if name == "content-length"]
        codings = [value for name, value in answer.headers if name == "transfer-encoding"]
        assert len(lengths) + len(codings) == 1, answer.headers
        assert codings in ([], ["chunked"])
        try:
            while part := await (self._reader.readexactly(int(lengths[0])) if lengths else self._chunk()):
                yield part
                if lengths:
                    break
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            yield getattr(error, "partial", b"")
        else:
            answer.whole = True

    async def _chunk(self) -> bytes:
        """One chunk; the last is empty."""
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        return (await self._reader.readexactly(size + 2))[:-2]


class Event(NamedTuple):
    name: str
    data: str


_LINE = re.compile(r"\r\n|\n|\r")


def events(body: bytes) -> list[Event]:
    """Events as the specification dispatches them: with data, and closed by a blank line."""
    found: list[Event] = []
    name, data = "", list[str]()
    for line in _LINE.split(body.decode().removeprefix("\ufeff"))[:-1]:
        if not line:
            if data:
                found.append(Event(name or "message", "\n".join(data)))
            name, data = "", []
        elif not line.startswith(":"):
            key, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if key == "data":
                data.append(value)
            elif key == "event":
                name = value
    return found


def frames(body: bytes) -> list[list[str]]:
    """The lines between blank lines, comments and all."""
    grouped = itertools.groupby(_LINE.split(body.decode()), bool)
    return [list(lines) for filled, lines in grouped if filled]
