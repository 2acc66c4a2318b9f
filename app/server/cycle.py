"""One request and its response on a connection, as ASGI: head and first body bytes leave in one write if they can."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.api.asgi import App, Message, Scope
from app.api.client_watch import ClientGone
from app.api.errors import ApiError

Headers = Iterable[tuple[bytes, bytes]]

_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_BODILESS = (204, 304)
# Beyond it, copying a body to join it to its head costs more than a second write.
JOINED_BYTES = 64 * 1024

log = logging.getLogger("uvicorn.error")


class Cycle:
    """The attributes without an underscore are those by which uvicorn's protocol drives it.

    ``completed`` is told when the response is whole, ``close`` ends the connection after it. ``stalled``: the client
    was cut off because it took nothing.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        scope: Scope,
        transport: asyncio.Transport,
        flow: FlowControl,
        default_headers: Sequence[tuple[bytes, bytes]],
        completed: Callable[[], None],
        close: Callable[[], None],
        *,
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self.body = bytearray()
        self.more_body = True
        self.message_event = asyncio.Event()
        self.disconnected = False
        self.stalled = False
        self.response_complete = False
        self.keep_alive = keep_alive
        self._loop = loop
        self._scope = scope
        self._transport = transport
        self._flow = flow
        self._default_headers = default_headers
        self._completed: Callable[[], None] | None = completed
        self._close = close
        self._expects_continue = expects_continue
        self._refusal: ApiError | None = None
        self._started = False
        self._head = b""
        self._bodiless = False
        self._left: int | None = None  # of the declared length; None: chunked

    def refuse(self, error: ApiError) -> None:
        """The body turned out to be none: whoever reads it learns that as a disconnection with a reason."""
        self._refusal = error
        self.message_event.set()

    async def run_asgi(self, app: App) -> None:
        try:
            await app(self._scope, self.receive, self.send)
        except Exception:
            log.exception("Exception in ASGI application")
        finally:
            if not self.response_complete and not self.disconnected:
                self._write_head()
                self._close()  # without its last chunk nobody can take the response for whole
            self._completed = None

    async def receive(self) -> Message:
        if self._expects_continue and not self._transport.is_closing():
            self._expects_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.disconnected and not self.response_complete and self._refusal is None:
            self._flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self._refusal is not None:
            return {"type": "http.disconnect", "refusal": self._refusal}
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect", "stalled": self.stalled, "complete": self.response_complete}
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected or self._transport.is_closing():
            raise ClientGone(stalled=self.stalled)
        if not self._started:
            self._started = True
            self._expects_continue = False
            self._head = self._encode(message["status"], message["headers"])
            # The body mostly follows at once. If it does not, the head leaves alone, but for one that a small body completes.
            if self._left is None or self._left > JOINED_BYTES:
                self._loop.call_soon(self._write_head)
        elif self._left is None and not self._head and not self.response_complete and message.get("more_body", False):
            body = message["body"]  # a chunk of a stream, which is what is sent most
            if body and not self._bodiless:
                self._transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        elif not self.response_complete:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError("the response is complete already")

    def _encode(self, status: int, headers: Headers) -> bytes:
        lines = [STATUS_LINE[status]]
        closing = False
        chunked = True
        for name, value in (*self._default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
            if name in _FRAMING:
                closing |= name == b"connection" and value.lower() == b"close"
                if name == b"content-length":
                    self._left = int(value)
                    chunked = False
        ends = len(lines) // 4 + 1
        self._bodiless = self._scope["method"] == "HEAD" or status in _BODILESS
        if chunked and not self._bodiless:
            lines.append(b"transfer-encoding: chunked\r\n")
            ends += 1
        if closing:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close\r\n")
            ends += 1
        lines.append(b"\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != ends + 1 or head.count(b"\r") != ends + 1:
            raise RuntimeError("a response header holds a line break")
        return head

    def _write_head(self) -> None:
        head, self._head = self._head, b""
        if head and not self._transport.is_closing():
            self._transport.write(head)

    def _send_body(self, body: bytes, *, more: bool) -> None:
        head, self._head = self._head, b""
        if self._bodiless:
            self._transport.write(head)
            self._left = 0
        elif self._left is None:
            framed = b"%b%x\r\n%b\r\n" % (head, len(body), body) if body else head
            self._transport.write(framed if more else framed + b"0\r\n\r\n")
        else:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the body and its content-length do not agree")
            if len(body) > JOINED_BYTES:
                self._transport.write(head)
                self._transport.write(body)
            else:
                self._transport.write(head + body)
        if not more:
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self._close()
        if self._completed is not None:
            self._completed()
