"""A provider with files: OpenAI's HTTP API on a real socket, enough of it for the official client.

It remembers every request byte for byte, and plays whatever a test puts into ``plays``: "METHOD /path" to a coroutine.
Reads nothing ahead of its plays but what the socket's buffers take, so that a slow one holds its client back.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Self


class Exchange:
    """One request and its answer. ``received`` and ``sent`` count bytes of the bodies; ``gone``: the other side hung up."""

    def __init__(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.split("\r\n")
        self.method, self.target, _ = first.split(" ")
        self.path, _, self.query = self.target.partition("?")
        self.lines = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        self.headers = dict(self.lines)
        self.received = 0
        self.sent = 0
        self.gone = False
        self.gone_at = 0.0
        self.closed = False
        self._reader = reader
        self._writer = writer
        self._chunked = False

    async def parts(self) -> AsyncIterator[bytes]:
        """The body as it comes, without its framing."""
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                yield self._count((await self._reader.readexactly(size + 2))[:-2])
            await self._reader.readexactly(2)
            return
        left = int(self.headers.get("content-length", "0"))
        while left:
            part = await self._reader.read(min(left, 1 << 16))
            if not part:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(part)
            yield self._count(part)

    async def body(self) -> bytes:
        return b"".join([part async for part in self.parts()])

    async def begin(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """The head; chunked unless ``headers`` say otherwise."""
        lines = {name.lower(): value for name, value in (headers or {}).items()}
        self._chunked = "content-length" not in lines and status not in (204, 304)
        if self._chunked:
            lines["transfer-encoding"] = "chunked"
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await self.raw(f"HTTP/1.1 {status} So\r\n{head}\r\n".encode("latin-1"))

    async def say(self, *parts: bytes) -> None:
        for part in parts:
            await self.raw(b"%x\r\n%b\r\n" % (len(part), part) if self._chunked else part)
            self.sent += len(part)

    async def end(self) -> None:
        if self._chunked:
            await self.raw(b"0\r\n\r\n")

    async def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer with its length. Underscores in names become hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await self.begin(status, {"content-length": str(len(body))} | named)
        if self.method != "HEAD" and status not in (204, 304):
            await self.say(body)

    async def json(self, payload: Any, status: int = 200) -> None:
        await self.reply(status, json.dumps(payload).encode(), content_type="application/json")

    async def raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def close(self, *, reset: bool = False) -> None:
        self.closed = True
        if reset:
            connection = self._writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
        self._writer.close()

    async def until_gone(self) -> None:
        """Hang until the other side gives up."""
        assert not await self._reader.read(1)
        raise ConnectionResetError

    def _count(self, part: bytes) -> bytes:
        self.received += len(part)
        return part


Play = Callable[[Exchange], Awaitable[None]]


class FileServer:
    """``async with`` it. ``files`` by id; ``seen`` in the order of their heads."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.seen: list[Exchange] = []
        self.connections = 0
        self.plays: dict[str, Play] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    @property
    def last(self) -> Exchange:
        return self.seen[-1]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        endings = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        for ending in endings:
            if isinstance(ending, Exception):
                raise ending

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False if nothing can follow on this connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").removesuffix("\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError):
            return False
        exchange = Exchange(head, reader, writer)
        self.seen.append(exchange)
        try:
            await self._play(exchange)
        except (OSError, asyncio.IncompleteReadError):
            exchange.gone = not exchange.closed
            exchange.gone_at = asyncio.get_running_loop().time()
            return False
        return not exchange.closed

    async def _play(self, exchange: Exchange) -> None:
        play = self.plays.get(f"{exchange.method} {exchange.path}")
        if play is None:
            play = next((play for pattern, play in self._api if re.fullmatch(pattern, _line(exchange))), self._missing)
        await play(exchange)

    @property
    def _api(self) -> list[tuple[str, Play]]:
        return [
            (r"POST /v1/files", self._create),
            (r"GET /v1/files", self._list),
            (r"GET /v1/files/[^/]+", self._retrieve),
            (r"(GET|HEAD) /v1/files/[^/]+/content", self._content),
            (r"DELETE /v1/files/[^/]+", self._delete),
            (r"POST /v1/batches", self._batch),
            (r"POST /v1/images/edits", self._edit),
            (r"POST /v1/audio/speech", self._speak),
        ]

    async def _create(self, exchange: Exchange) -> None:
        form = _form(exchange, await exchange.body())
        number = f"file-{len(self.files) + 1}"
        self.files[number] = form["file"]
        await exchange.json(self._described(number) | {"purpose": form["purpose"].decode()})

    async def _list(self, exchange: Exchange) -> None:
        await exchange.json({"object": "list", "data": [self._described(number) for number in self.files]})

    async def _retrieve(self, exchange: Exchange) -> None:
        await exchange.json(self._described(exchange.path.rpartition("/")[2]))

    async def _content(self, exchange: Exchange) -> None:
        content = self.files[exchange.path.split("/")[3]]
        about = {"content_type": "application/octet-stream", "etag": '"v1"', "accept_ranges": "bytes"}
        if exchange.headers.get("if-none-match") == '"v1"':
            await exchange.reply(304, **about)
            return
        about["content_disposition"] = 'attachment; filename="data.bin"'
        if found := re.fullmatch(r"bytes=(\d+)-(\d+)", exchange.headers.get("range", "")):
            first, last = int(found[1]), int(found[2])
            about["content_range"] = f"bytes {first}-{last}/{len(content)}"
            await exchange.reply(206, content[first : last + 1], **about)
            return
        await exchange.reply(200, content, **about)

    async def _delete(self, exchange: Exchange) -> None:
        number = exchange.path.rpartition("/")[2]
        del self.files[number]
        await exchange.json({"id": number, "object": "file", "deleted": True})

    async def _batch(self, exchange: Exchange) -> None:
        asked = json.loads(await exchange.body())
        await exchange.json({"id": "batch_1", "object": "batch", "status": "validating", "created_at": 1} | asked)

    async def _edit(self, exchange: Exchange) -> None:
        form = _form(exchange, await exchange.body())
        await exchange.json({"created": 1, "data": [{"b64_json": str(len(form["image"]))}]})

    async def _speak(self, exchange: Exchange) -> None:
        text = json.loads(await exchange.body())["input"]
        await exchange.begin(headers={"content-type": "audio/mpeg"})
        await exchange.say(*[text.encode() * 100] * 10)
        await exchange.end()

    async def _missing(self, exchange: Exchange) -> None:
        await exchange.body()
        error = {"message": "no such thing", "type": "invalid_request_error", "param": None, "code": None}
        await exchange.json({"error": error}, 404)

    def _described(self, number: str) -> dict[str, Any]:
        about = {"id": number, "object": "file", "created_at": 1, "status": "processed", "purpose": "user_data"}
        return about | {"bytes": len(self.files[number]), "filename": "data.bin"}


def _line(exchange: Exchange) -> str:
    return f"{exchange.method} {exchange.path}"


def _form(exchange: Exchange, body: bytes) -> dict[str, bytes]:
    """The fields of multipart/form-data."""
    boundary = exchange.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    fields = {}
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        found = re.search(rb'name="([^"]+)"', head)
        assert found, head
        fields[found[1].decode()] = content.removesuffix(b"\r\n")
    return fields
