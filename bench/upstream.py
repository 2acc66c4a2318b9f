"""The upstream where nginx with Lua is not installed: canned answers from a bare asyncio.Protocol."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

from bench.answers import CHUNKS, EVENT, GAP_SECONDS, LAST_EVENT, PLAIN, STREAM_PATH

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n%s\r\n\r\n"
PLAIN_ANSWER = HEAD % (b"application/json", b"content-length: %d" % len(PLAIN)) + PLAIN
STREAM_HEAD = HEAD % (b"text/event-stream", b"transfer-encoding: chunked")


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


STREAM_EVENT = _chunk(EVENT)
STREAM_END = _chunk(LAST_EVENT) + b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """Answers each request as soon as its declared body is whole. Knows Content-Length and two kinds of path."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own is none by inheritance
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (head_end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:head_end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            whole = head_end + 4 + length
            if len(self.buffer) < whole:
                return
            self.buffer = self.buffer[whole:]
            if head.split(b" ", 2)[1] == STREAM_PATH.encode():
                self.transport.write(STREAM_HEAD)
                self.stream(CHUNKS - 1)
            else:
                self.transport.write(PLAIN_ANSWER)

    def stream(self, left: int) -> None:
        """One chunk now, the next after the gap."""
        if self.transport.is_closing():
            return
        self.transport.write(STREAM_EVENT if left else STREAM_END)
        if left:
            asyncio.get_running_loop().call_later(GAP_SECONDS, self.stream, left - 1)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
