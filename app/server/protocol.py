"""The server's side of HTTP/1.1: uvicorn's protocol, with the bounds that it lacks.

A head is bounded in bytes, lines and time, a pipeline in length, a client that stops reading in time; what is not
HTTP gets our error object and our log line. Bodies are bounded where they are read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.asgi import App
from app.api.edge import Edge
from app.api.errors import ApiError
from app.server import bounds
from app.server.cycle import Cycle
from app.server.unsent import unsent_bytes
from app.server.upgrade import body_parser, has_body


class Protocol(HttpToolsProtocol):
    """One connection. Its app is the Edge, which also answers for what never became a request."""

    # Ours in the place of uvicorn's.
    cycle: Cycle  # type: ignore[assignment]
    pipeline: deque[tuple[Cycle, App]]  # type: ignore[assignment]

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._edge: Edge = getattr(self.app, "app", self.app)  # behind trusted proxies, uvicorn wraps it
        self._running: Cycle | None = None
        self._refused: ApiError | None = None
        self._deaf = False
        self._in_head = self._fresh = False
        self._whole = True
        self._head_size = self._unread = self._hosts = self._unsent = self._discarded = 0
        self._idle_since: float | None = None
        self._overdue: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect(self._head_overdue)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._expect(None)
        self.resume_writing()
        running = self._running  # with pipelined requests not the last one, and uvicorn tells only the last
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._discarded += len(data)
            if self._discarded > bounds.MAX_DISCARDED:
                self.transport.abort()
            return
        idle = self._whole
        self._fresh = False
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(self._refused or bounds.malformed(str(error)))
            return
        if not self._whole and not self._fresh:  # else nobody knows how much of it is this message's
            self._unread = max(0, self._unread + len(data))
            if self._unread > bounds.MAX_UNREAD_BYTES:
                self._refuse(bounds.too_large())
        if self._overdue is None and (self._in_head or (idle and self._whole and not self._busy())):
            self._expect(self._head_overdue)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # None is on offer, so the request is HTTP/1.1, and the last. But the parser will not read its body.
            if self._whole:
                self._deaf = True
            else:
                self.parser = body_parser(self, self.headers)
                self.parser.feed_data(data[upgrade.args[0] :])

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent = unsent_bytes(self.transport)
        self._stalled = self.loop.call_later(self._edge.send_timeout, self._cut_off)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    # httptools

    def on_message_begin(self) -> None:
        self._idle_since = None
        super().on_message_begin()
        self._in_head = self._fresh = True
        self._whole = False
        self._head_size = self._unread = self._hosts = 0

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > bounds.MAX_URL_BYTES:
            raise self._because(bounds.too_long())

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:  # a trailer, for which nobody has use
            return
        name = name.lower()
        self.headers.append((name, value))
        self._head_size += len(name) + len(value)
        if self._head_size > bounds.MAX_HEAD_BYTES or len(self.headers) > bounds.MAX_HEADERS:
            raise self._because(bounds.too_large())
        if not value.isascii():
            raise self._because(bounds.malformed("a header holds bytes that are not ASCII"))
        if name == b"host":
            self._hosts += 1
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._unread = 0
        if self._overdue is not None:
            self._expect(None)
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise self._because(bounds.malformed(f"its version is {version}"))
        if self._hosts != 1 and (self._hosts or version != "1.0"):
            raise self._because(bounds.malformed("it must have exactly one Host header"))
        url = httptools.parse_url(self.url)
        path = (url.path or b"*").decode("ascii")
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["raw_path"] = url.path or b"*"
        scope["path"] = unquote(path) if "%" in path else path
        scope["query_string"] = url.query or b""
        last = version == "1.0" or parser.should_upgrade() or not parser.should_keep_alive()
        self.cycle = self._new_cycle(scope, keep_alive=not last)
        self._start_or_queue()

    def on_body(self, body: bytes) -> None:
        self._unread -= len(body) * (1 + bounds.MAX_WRAPPING)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade() and has_body(self.headers):  # it is still to come
            return
        self._whole = True
        if self._overdue is not None:
            self._expect(None)
        super().on_message_complete()

    # Requests.

    def _new_cycle(self, scope: Any, *, keep_alive: bool) -> Cycle:
        return Cycle(
            self.loop,
            scope,
            self.transport,
            self.flow,
            self.server_state.default_headers,
            self.on_response_complete,
            self._close,
            keep_alive=keep_alive,
            expects_continue=self.expect_100_continue,
        )

    def _start_or_queue(self) -> None:
        if not self._busy():
            self._start_asgi_task(self.cycle, self.app)
            return
        self.flow.pause_reading()
        if self._deaf:
            return
        self.pipeline.appendleft((self.cycle, self.app))
        if len(self.pipeline) >= bounds.MAX_PIPELINED:
            self.cycle.keep_alive = False
            self._deaf = True

    def _busy(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """As uvicorn's, but for its timer: one that is set and cleared for each request would cost a microsecond."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self._watch_idleness(self.timeout_keep_alive)
        if not self._whole and not self._in_head and not self.transport.is_closing():
            self._expect(self.transport.abort)  # the rest of a body that nobody wants any more

    # What goes wrong.

    def _because(self, error: ApiError) -> ApiError:
        """For a parser's callback to raise: httptools would put its own error in the place of ours."""
        self._refused = error
        return error

    def _refuse(self, error: ApiError) -> None:
        """Answer what is not a request, and hear no more."""
        self._deaf = True
        running = self._running
        if running is not None and not running.response_complete:
            running.keep_alive = False
            if running is self.cycle and running.more_body:  # its body is what went wrong
                running.refuse(error)
            return
        method, path = self.scope.get("method", "-"), self.url.decode("latin-1")
        scope: Any = self.scope | {"method": method, "path": self.scope.get("path", path), "headers": self.headers}
        self.cycle = self._new_cycle(scope, keep_alive=False)
        self.cycle.more_body = False
        refusing: App = self._edge.refusing(error.answer)
        self._start_asgi_task(self.cycle, refusing)

    def _head_overdue(self) -> None:
        self._overdue = None
        if self.transport.is_closing():
            return
        if self._in_head:
            self._refuse(bounds.too_slow(self._edge.receive_timeout))
        else:  # silent from the start, or nothing but empty lines
            self._close()

    def _cut_off(self) -> None:
        """The client takes nothing any more. Its request ends as if it had left, which it may have."""
        unsent = unsent_bytes(self.transport)
        if unsent < self._unsent:  # slow, but it reads
            self._unsent = unsent
            self._stalled = self.loop.call_later(self._edge.send_timeout, self._cut_off)
            return
        self._stalled = None
        if self._running is not None:
            self._running.stalled = True
        self.transport.abort()

    def timeout_keep_alive_handler(self) -> None:
        """Set once for many requests: how long has it been idle by now?"""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        rest = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if rest > 0:
            self._watch_idleness(rest)
        else:
            self._close()

    def _watch_idleness(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _close(self) -> None:
        """Close; with unread bytes on the way that would reset the connection and hide our answer, so wait for them.
        Bounded, also when the client does not read.
        """
        transport = self.transport
        if transport.is_closing():
            return
        self._deaf = True
        self.pipeline.clear()
        if self._whole:
            transport.close()
        else:
            self.flow.resume_reading()
            transport.write_eof()
        self._expect(transport.abort)

    def _expect(self, otherwise: Any) -> None:
        """Within the time to receive, something else is called for; else this happens. None: it has come."""
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        if otherwise is not None:
            self._overdue = self.loop.call_later(self._edge.receive_timeout, otherwise)
