"""HTTP/1.1 as a client, on one socket: what is sent, what comes back, and every way in which that can break.

A ``Connection`` is a socket and its parser (llhttp, by httptools). It carries one request at a time, whose response is an
``Answer``, and idles in between.

Our own, and not a library's, because it stands around every request and every chunk: decision 0005 has the figures.
Knows nothing of pools, of addresses or of what the bytes mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httptools

from providers.answer import Answer
from providers.errors import Disconnected, Malformed, ProviderError

MAX_HEAD_BYTES = 128 * 1024
# A body up to this size leaves in one write with its head.
JOINED_BYTES = 64 * 1024
DRAIN_SECONDS = 0.25
_BODILESS = (204, 304)


# All connections read into this one, each for as long as it takes to parse: a read is bounded by it, whatever the
# loop's own buffers are, and so is what a stalled reader makes us hold.
_INPUT = memoryview(bytearray(64 * 1024))


class Connection(asyncio.BufferedProtocol):  # noqa: PLR0904 - what asyncio calls, and what httptools calls
    """``released`` is told when it may carry another request, ``lost`` when it never will. ``name`` is for messages.

    Between the two it belongs to the one ``Answer`` that ``send`` returned.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        released: Callable[[Connection], None],
        lost: Callable[[Connection], None],
    ) -> None:
        self.loop = loop
        self.idle_since = 0.0
        self._name = name
        self._released = released
        self._lost = lost
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._headers: dict[str, str] = {}
        self._received = 0
        self._headless = False
        self._interim = False
        self._last = False
        self._final = False
        self._paused = False
        self._draining: asyncio.TimerHandle | None = None
        self._writable: asyncio.Future[None] | None = None
        self._blocked = False
        self._sending = False

    # Sending.

    def send(
        self, head: bytes, body: bytes = b"", *, no_body: bool = False, more: bool = False, final: bool = False
    ) -> Answer:
        """Begin a request; ``head`` ends with its empty line. ``no_body``: the answer to it has none (HEAD).

        ``more``: the rest of the body follows by ``write``; ``final``: no other request follows.
        """
        answer = self._answer = Answer(self)
        self._sending = more
        self._final = final
        self._headers = {}
        self._received = 0
        self._headless = no_body
        if len(body) <= JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        return answer

    async def write(self, data: bytes, *, more: bool) -> None:
        """The next part of the body. Waits while the socket takes no more. Raises ``Disconnected``."""
        if not self._transport.is_closing():
            self._transport.write(data)
            self._sending = more
            while self._blocked:
                self._writable = self.loop.create_future()
                await self._writable
        if self._transport.is_closing():
            raise Disconnected(f"{self._name} closed the connection")

    # What an Answer asks for.

    def pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def drain(self, answer: Answer) -> None:
        if self._answer is answer:
            self._received = 0
            self._draining = self.loop.call_later(DRAIN_SECONDS, self.abort)
            self.resume_reading()

    def drop(self, answer: Answer) -> None:
        if self._answer is answer:
            self.abort()

    def abort(self) -> None:
        """Close at once, without a word."""
        self._transport.abort()

    @property
    def closing(self) -> bool:
        """True from the moment it is known that it cannot be used again."""
        return self._transport.is_closing()

    # asyncio.BufferedProtocol

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return _INPUT

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(_INPUT[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        answer = self._answer
        if answer is None:  # nobody asked: this connection is out of step
            self.abort()
            return
        # What is in this read may be body, so it counts from the next one on.
        if self._received > MAX_HEAD_BYTES:
            self._fail(Malformed(f"{self._name} sent more than {MAX_HEAD_BYTES} bytes of headers"))
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._answer is not None:
                self._fail(Malformed(f"{self._name} does not speak HTTP"))
            else:  # a good answer, and then something else
                self.abort()

    def eof_received(self) -> None:
        """The one sign that a body without a length is whole. The transport closes itself."""
        if self._last and self._answer is not None:
            self._end()
        else:
            self._cut()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cut()
        if self._draining is not None:
            self._draining.cancel()
        self.resume_writing()
        self._lost(self)

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # httptools

    def on_message_begin(self) -> None:
        if self._answer is None:  # a second answer to one request
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer is None or self._answer.begun:  # a trailer: nobody has use for one
            return
        key = name.lower().decode("latin-1")
        text = value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        answer = self._answer
        if answer is None:
            return
        status = self._parser.get_status_code()
        headers = self._headers
        coding = headers.get("transfer-encoding")
        self._interim = 100 <= status < 200
        if self._interim:
            if coding is not None or "content-length" in headers:  # the parser would read it into the next one's body
                self._fail(Malformed(f"{self._name} sent an interim answer with a body"))
            self._headers = {}
            return
        if coding is not None and coding.strip().lower() != "chunked":
            self._fail(Malformed(f"{self._name} answered in a transfer coding that nobody asked for"))
            return
        if status in _BODILESS:  # where a body is announced all the same, it may follow
            self._last = coding is not None or (status == 204 and headers.get("content-length", "0") != "0")
        else:  # without a length the body lasts until the connection ends
            self._last = coding is None and "content-length" not in headers
        answer.status = status
        answer.headers = headers
        answer.begun = True
        if self._headless:  # the parser cannot know; it would wait for a body, so no other answer can follow
            self._last = True
            self._end()
            return
        answer.wake()

    def on_body(self, body: bytes) -> None:
        if self._answer is not None and self._draining is None:
            self._received = 0
            self._answer.add(body)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif self._answer is not None:
            self._end()

    # How it ends.

    def _end(self) -> None:
        """The answer is whole. The connection goes on if both sides are at a message's end and want to."""
        answer = self._answer
        assert answer is not None  # noqa: S101 - whoever calls has looked
        self._answer = None
        answer.complete = True
        answer.wake()
        if self._draining is not None:
            self._draining.cancel()
            self._draining = None
        self.resume_reading()
        if self._sending or self._transport.get_write_buffer_size():
            self._transport.abort()  # it answered without having heard it all, and may never read the rest
        elif self._last or self._final or not self._parser.should_keep_alive():
            self._transport.close()
        else:
            self._released(self)

    def _cut(self) -> None:
        if self._answer is not None:
            when = "ended its answer before it was complete" if self._answer.begun else "closed the connection"
            self._fail(Disconnected(f"{self._name} {when}"))

    def _fail(self, failure: ProviderError) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.failure = failure
            answer.wake()
        self.abort()
