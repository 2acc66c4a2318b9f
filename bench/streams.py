"""Many streams at once, each read to its end. ``python -m bench.streams PORT PATH COUNT`` prints what came as JSON:
chunks and reads in all, and the median of how many seconds a stream took.

It runs in a process of its own, on the core of the load. While streams run it only collects bytes; they are judged
when all have ended.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from typing import cast

import uvloop

from bench.answers import CHUNKS, DONE, asking

RAMP_SECONDS = 1.0  # streams start one after the other, so that their chunks are spread over the gap, too
GIVE_UP_SECONDS = 60.0
BODY_END = b"\r\n0\r\n\r\n"


class Incomplete(ValueError):
    """A stream was refused, broken off, or lacked chunks."""


class Stream(asyncio.Protocol):
    """One request on one connection. ``seconds`` is from its request to its end."""

    def __init__(self, request: bytes) -> None:
        self.received = bytearray()
        self.reads = 0
        self.seconds = 0.0
        self.ended = asyncio.Event()
        self._request = request
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is none by inheritance
        self._began = self._loop.time()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.reads += 1
        # Anything but a success ends at once; it would not come in chunks.
        if self.received.endswith(BODY_END) or not self.received.startswith(b"HTTP/1.1 200"):
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.seconds = self._loop.time() - self._began
        self.ended.set()


def unchunked(body: bytes) -> bytes:
    """The content of a chunked body. Raises Incomplete unless it ends as HTTP says it must."""
    content: list[bytes] = []
    at = 0
    while True:
        line_end = body.find(b"\r\n", at)
        if line_end < 0:
            raise Incomplete(f"the body broke off after {len(b''.join(content))} bytes")
        try:
            size = int(body[at:line_end].partition(b";")[0], 16)
        except ValueError as error:
            raise Incomplete(f"{body[at:line_end]!r} is no size of a chunk") from error
        start, at = line_end + 2, line_end + 2 + size + 2
        if body[at - 2 : at] != b"\r\n":
            raise Incomplete(f"the body broke off after {len(b''.join(content))} bytes")
        if size == 0:
            return b"".join(content)
        content.append(body[start : at - 2])


def chunks_of(received: bytes) -> int:
    """How many chunks a whole answer brought. Raises Incomplete if that is no success or not the whole stream."""
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise Incomplete(f"the answer was {received[:300]!r}")
    content = unchunked(body)
    if not content.endswith(DONE):
        raise Incomplete(f"the stream did not end with [DONE] but with {content[-100:]!r}")
    chunks = sum(event.startswith(b"data: ") for event in content.split(b"\n\n")) - 1
    if chunks != CHUNKS:
        raise Incomplete(f"the stream had {chunks} chunks instead of {CHUNKS}")
    return chunks


async def collect(port: int, path: str, count: int) -> list[Stream]:
    """``count`` streams, all ended. Raises Incomplete if some do not end, or cannot even begin."""
    body = asking(stream=True).encode()
    fields = f"Host: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    request = f"POST {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode() + body
    streams = [Stream(request) for _ in range(count)]
    loop = asyncio.get_running_loop()

    async def run(stream: Stream, delay: float) -> None:
        await asyncio.sleep(delay)
        transport, _ = await loop.create_connection(lambda: stream, "127.0.0.1", port)
        try:
            await stream.ended.wait()
        finally:
            transport.close()

    try:
        async with asyncio.timeout(GIVE_UP_SECONDS), asyncio.TaskGroup() as tasks:
            for index, stream in enumerate(streams):
                tasks.create_task(run(stream, RAMP_SECONDS * index / count))
    except TimeoutError as error:
        whole = sum(stream.received.endswith(BODY_END) for stream in streams)
        raise Incomplete(f"only {whole} of {count} streams had ended after {GIVE_UP_SECONDS:g} s") from error
    except ExceptionGroup as errors:
        raise Incomplete(f"a connection failed: {errors.exceptions[0]}") from errors
    return streams


def main(port: int, path: str, count: int) -> None:
    try:
        streams = uvloop.run(collect(port, path, count))
        chunks = sum(chunks_of(bytes(stream.received)) for stream in streams)
    except Incomplete as error:
        raise SystemExit(str(error)) from error
    seconds = statistics.median(stream.seconds for stream in streams)
    print(json.dumps({"chunks": chunks, "reads": sum(stream.reads for stream in streams), "seconds": seconds}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
