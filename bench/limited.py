"""An upstream that can only do so much, in a process of its own: slots, a service time, and one FIFO queue for what is too much.

Work whose client has left meanwhile is done all the same and nobody gets it, as at most servers. So whoever sends more than
it can do, and gives up waiting, keeps it busy with nothing.

``python -m bench.limited PORT --slots 1 --service 0.004``. POST /mode/NAME changes what it does: ``ok``; ``errors`` does
the work and answers 500; ``stopped`` takes requests and does nothing until it may again. GET /posts are the times at which
inference was asked for, in seconds on the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import click
import orjson
import uvloop

MODES = OK, ERRORS, STOPPED = "ok", "errors", "stopped"
ID = '"id":"x","object":"chat.completion.chunk","created":1,"model":"m"'
FINISHED = b'data: {%b,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n' % ID.encode()
WORD = (
    b'data: {%b,"choices":[{"index":0,"delta":{"role":"assistant","content":"word"},"finish_reason":null}]}\n\n'
    % ID.encode()
)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


FIRST = STREAM + chunk(WORD)
LAST = chunk(FINISHED) + b"0\r\n\r\n"


def plain(status: int, payload: object, *headers: str) -> bytes:
    body = orjson.dumps(payload)
    more = "".join(f"{header}\r\n" for header in headers)
    head = f"HTTP/1.1 {status} So\r\ncontent-type: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def failure(status: int) -> bytes:
    return plain(status, {"error": {"message": "no", "type": "server_error", "param": None, "code": None}})


class Law(NamedTuple):
    """``first`` seconds of its ``service`` pass before the first token. Beyond ``queue`` waiting requests it answers
    ``full``.
    """

    slots: int
    service: float
    first: float
    queue: int | None = None
    full: int = 503


class Upstream:
    """What the connections share. Times are the loop's."""

    def __init__(self, law: Law, loop: asyncio.AbstractEventLoop) -> None:
        self.mode = OK
        self.posts: list[float] = []
        self._law = law
        self._loop = loop
        self._free = [0.0] * law.slots  # when each slot has done what it was given: a heap
        self._begins: deque[float] = deque()  # of those that wait
        self._held: list[Connection] = []

    def turn(self, mode: str) -> None:
        self.mode = mode
        if mode != STOPPED:
            held, self._held = self._held, []
            for connection in held:
                self._take(connection)

    def asked(self, connection: Connection) -> None:
        self.posts.append(time.monotonic())
        if self.mode == STOPPED:
            self._held.append(connection)
        else:
            self._take(connection)

    def _take(self, connection: Connection) -> None:
        now, law = self._loop.time(), self._law
        while self._begins and self._begins[0] <= now:
            self._begins.popleft()
        if law.queue is not None and self._free[0] > now and len(self._begins) >= law.queue:
            connection.send(failure(law.full))
            return
        begins = max(now, self._free[0])
        heapq.heapreplace(self._free, begins + law.service)
        if begins > now:
            self._begins.append(begins)
        self._loop.call_at(begins + law.first, self._first, connection, begins + law.service)

    def _first(self, connection: Connection, ends: float) -> None:
        if self.mode == ERRORS:
            connection.send(failure(500))
        elif self._law.first == self._law.service:
            connection.send(FIRST + LAST)
        else:
            connection.send(FIRST)
            self._loop.call_at(ends, connection.send, LAST)


class Connection(asyncio.Protocol):
    """One request after the other, each answered when the upstream says so."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is none by inheritance
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            method, path, _ = head.split(b" ", 2)
            self._answer(method, path.decode())

    def send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _answer(self, method: bytes, path: str) -> None:
        upstream = self._upstream
        if path.endswith("/completions"):
            upstream.asked(self)
        elif path.startswith("/mode/"):
            upstream.turn(path.removeprefix("/mode/"))
            self.send(plain(200, {"mode": upstream.mode}))
        elif path == "/posts":
            self.send(plain(200, upstream.posts))
        elif upstream.mode == OK:  # what a gateway probes
            self.send(plain(200, {"data": []}))
        elif upstream.mode == ERRORS:
            self.send(failure(500))


async def serve(port: int, law: Law) -> None:
    loop = asyncio.get_running_loop()
    make: Callable[[], Connection] = partial(Connection, Upstream(law, loop))
    server = await loop.create_server(make, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


@click.command()
@click.argument("port", type=int)
@click.option("--slots", type=click.IntRange(1), default=1, show_default=True)
@click.option("--service", type=float, default=0.004, show_default=True, help="Seconds that a request takes a slot.")
@click.option("--first", type=float, help="Seconds of these until the first token; default all.")
@click.option("--queue", type=click.IntRange(0), help="How many may wait; default any number.")
@click.option("--full", type=int, default=503, show_default=True, help="What the others get.")
def main(port: int, slots: int, service: float, first: float | None, queue: int | None, full: int) -> None:
    """Serve until it is stopped."""
    uvloop.run(serve(port, Law(slots, service, service if first is None else first, queue, full)))


if __name__ == "__main__":
    main()
