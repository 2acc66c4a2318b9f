"""An upstream that misbehaves on purpose: real sockets, hand-written HTTP/1.1, one fault per server.

FAULTS is the table. A fault is an async function that writes to an ``Exchange``; most serve streamed and plain
requests alike, because an answer is a list of *pieces*: the events of a stream, or a JSON body cut into as many
parts. After a fault has returned, the connection serves the next request, unless the fault has closed it.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Self

SECRET = "SECRET-WORDS-OF-THE-UPSTREAM"
DONE = b"data: [DONE]\n\n"
BAD_EVENT = b'data: {"choices": [{"delta": {"content": "br\n\n'
TO_ROLE = slice(0, 1)
TO_CONTENT = slice(0, 3)
AFTER_CONTENT = slice(3, None)
HUGE = 5 * 1024 * 1024

LLAMACPP_400 = (
    b'{"error":{"code":400,"message":"request (9031 tokens) exceeds the available context size (4096 tokens)",'
    b'"type":"exceed_context_size_error","n_prompt_tokens":9031,"n_ctx":4096}}'
)
VLLM_401 = b'{"error":"Unauthorized"}'


class FaultyServer:
    """``fault``, a name in FAULTS or a fault of one's own, may be changed between requests. Times are the loop's."""

    def __init__(self, name: str, fault: str | Fault, elsewhere: str = "") -> None:
        self.name = name
        self.fault = fault
        self.elsewhere = elsewhere
        self.connections = 0
        self.hang_ups: list[float] = []
        self.exchanges: list[Exchange] = []
        self._seen: dict[tuple[str, bool], asyncio.Event] = defaultdict(asyncio.Event)
        self._serving: list[asyncio.Task[None]] = []
        self._idle: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    def calls(self, model: str, *, stream: bool) -> list[Exchange]:
        return [one for one in self.exchanges if (one.model, one.stream) == (model, stream)]

    def content_seen(self, model: str, *, stream: bool) -> asyncio.Event:
        """Set by the test when its client has content, so that what comes next comes after the commit point."""
        return self._seen[model, stream]

    def close_idle(self) -> int:
        """Close every connection that waits for a request, as servers do after a while; how many there were."""
        idle = tuple(self._idle)
        for writer in idle:
            writer.close()
        return len(idle)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        endings = await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()
        for ending in endings:
            if isinstance(ending, Exception):
                raise ending

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._serving.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await self._all_requests(reader, writer):
                self.hang_ups.append(_now())
        except (OSError, asyncio.IncompleteReadError):
            self.hang_ups.append(_now())
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _all_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """True if it was the gateway who closed the connection."""
        # One byte is always awaited: it begins the next request, or there is none and the gateway has hung up.
        first = asyncio.create_task(_one_byte(reader))
        earlier = 0
        self._idle.add(writer)
        try:
            while byte := await first:
                self._idle.discard(writer)
                exchange = await _read_request(byte, reader, writer, self)
                exchange.earlier = earlier
                earlier += 1
                self.exchanges.append(exchange)
                first = asyncio.create_task(_one_byte(reader))
                await self._answer(exchange, first)
                if exchange.closed:
                    return False
                self._idle.add(writer)
        finally:
            self._idle.discard(writer)
            first.cancel()
        return True

    async def _answer(self, exchange: Exchange, first: asyncio.Task[bytes]) -> None:
        chosen = FAULTS[self.fault] if isinstance(self.fault, str) else self.fault
        fault = asyncio.ensure_future(chosen(exchange))
        try:
            await asyncio.wait({fault, first}, return_when=asyncio.FIRST_COMPLETED)
            if not fault.done():
                exchange.abandoned_at = _now()
            else:
                await fault
        except OSError:
            exchange.abandoned_at = _now()
        finally:
            fault.cancel()
            await asyncio.wait({fault})
            exchange.over = True


@contextmanager
def refusing() -> Generator[str]:
    """A URL at which connections are refused: the port is taken, so nobody else can listen there, but neither do we."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


class Exchange:
    """One request and its answer. ``abandoned_at``: when the gateway hung up before the answer was over.

    ``earlier``: how many requests came before it on its connection.
    """

    def __init__(self, server: FaultyServer, writer: asyncio.StreamWriter, head: bytes, body: bytes) -> None:
        self.server = server
        self.head = head
        self.body = body
        self.fields: dict[str, Any] = _object(body)
        self.at = _now()
        self.abandoned_at: float | None = None
        self.earlier = 0
        self.over = False
        self.closed = False
        self._writer = writer

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The request's, in order, names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    @property
    def stream(self) -> bool:
        return self.fields.get("stream") is True

    @property
    def model(self) -> str:
        return str(self.fields.get("model"))

    @property
    def pieces(self) -> list[bytes]:
        """A stream: role, five of content, finish, usage if asked for, [DONE]. A plain body: nine parts."""
        text = f"hello from {self.server.name}"
        if not self.stream:
            return _parts(completion(text), 9)
        usage = [event({"choices": [], "usage": USAGE})] if self.fields.get("stream_options") else []
        said = [delta({"content": part.decode()}) for part in _parts(text.encode(), 5)]
        return [ROLE, *said, delta({}, "stop"), *usage, DONE]

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def begin(self, length: int | None = None, headers: Mapping[str, str] | None = None) -> None:
        """The head of a 200, chunked unless it claims a length."""
        framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        media_type = "text/event-stream" if self.stream else "application/json"
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        await self.write(f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\n{more}{framing}\r\n\r\n".encode())

    async def say(self, *payloads: bytes) -> None:
        """Each in a chunk and a write of its own."""
        for payload in payloads:
            await self.write(b"%x\r\n%b\r\n" % (len(payload), payload))

    async def end(self) -> None:
        await self.write(b"0\r\n\r\n")

    async def reply(
        self, status: int, body: bytes, media_type: str = "application/json", headers: Mapping[str, str] | None = None
    ) -> None:
        """A whole answer with its length."""
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"HTTP/1.1 {status} So\r\nContent-Type: {media_type}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        await self.write(head.encode() + body)

    async def content_seen(self) -> None:
        """Until the client has content. A plain answer shows none before its end."""
        if self.stream:
            await self.server.content_seen(self.model, stream=True).wait()

    def keep_little(self) -> None:
        """Of what is sent from here on: else the kernel takes megabytes before anybody is held back."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)

    async def close(self) -> None:
        await self._writer.drain()
        self.closed = True
        self._writer.close()

    async def reset(self) -> None:
        await self._writer.drain()
        self.closed = True
        linger_not = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        self._writer.transport.abort()

    async def hang(self) -> None:
        await asyncio.Event().wait()


Fault = Callable[[Exchange], Awaitable[None]]
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


def event(payload: Any) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def delta(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def completion(text: str, **usage: int) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    shape = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    return json.dumps({**shape, "choices": [choice], "usage": USAGE | usage}).encode()


def error(kind: str, code: int | str | None) -> dict[str, Any]:
    return {"error": {"message": SECRET, "type": kind, "param": None, "code": code}}


ROLE = delta({"role": "assistant", "content": None})
VLLM_ERROR = error("InternalServerError", 500)


async def ok(x: Exchange) -> None:
    if not x.stream:
        await x.reply(200, b"".join(x.pieces))
        return
    await x.begin()
    await x.say(*x.pieces)
    await x.end()


async def one_byte_at_a_time(x: Exchange) -> None:
    await x.begin()
    await x.say(*(bytes([byte]) for byte in b"".join(x.pieces)))
    await x.end()


def status(code: int, body: bytes = b"", **headers: str) -> Fault:
    """Keyword arguments are headers, with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(x: Exchange) -> None:
        await x.reply(code, body or json.dumps(error("SomeError", code)).encode(), headers=named)

    return answer


def html(code: int) -> Fault:
    async def answer(x: Exchange) -> None:
        await x.reply(code, f"<html><h1>{code}</h1>{SECRET}</html>".encode(), "text/html")

    return answer


async def redirect(x: Exchange) -> None:
    await x.reply(302, b"", headers={"Location": f"{x.server.elsewhere}/chat/completions"})


async def not_http(x: Exchange) -> None:
    await x.write(b"SSH-2.0-OpenSSH_9.9\r\n")
    await x.close()


async def close_before_headers(x: Exchange) -> None:
    await x.close()


async def reset_before_headers(x: Exchange) -> None:
    await x.reset()


async def close_after_headers(x: Exchange) -> None:
    await x.begin()
    await x.close()


async def reset_after_headers(x: Exchange) -> None:
    await x.begin()
    await x.reset()


async def role_chunk_then_close(x: Exchange) -> None:
    await x.begin()
    await x.say(*x.pieces[TO_ROLE])
    await x.close()


async def role_chunk_then_hang(x: Exchange) -> None:
    await x.begin()
    await x.say(*x.pieces[TO_ROLE])
    await x.hang()


async def role_chunk_then_error_event(x: Exchange) -> None:
    if not x.stream:
        await x.reply(200, json.dumps(VLLM_ERROR).encode())
        return
    await x.begin()
    await x.say(ROLE, event(VLLM_ERROR), DONE)
    await x.end()


async def cut_after_content(x: Exchange) -> None:
    await x.begin()
    await x.say(*x.pieces[TO_CONTENT])
    await x.content_seen()
    await x.close()


async def reset_after_content(x: Exchange) -> None:
    await x.begin()
    await x.say(*x.pieces[TO_CONTENT])
    await x.content_seen()
    await x.reset()


async def clean_end_after_content(x: Exchange) -> None:
    await x.begin()
    await x.say(*x.pieces[TO_CONTENT])
    await x.content_seen()
    await x.end()


async def done_without_finish(x: Exchange) -> None:
    await x.begin()
    await x.say(*x.pieces[TO_CONTENT])
    await x.content_seen()
    await x.say(DONE)
    await x.end()


async def finish_without_done(x: Exchange) -> None:
    await x.begin()
    await x.say(*(piece for piece in x.pieces if piece != DONE))
    await x.end()


async def error_event_after_content(x: Exchange) -> None:
    """As vLLM does it: the error, then [DONE]."""
    if not x.stream:
        await x.reply(200, json.dumps({"error": SECRET}).encode())
        return
    await x.begin()
    await x.say(*x.pieces[TO_CONTENT])
    await x.content_seen()
    await x.say(event(VLLM_ERROR), DONE)
    await x.end()


async def malformed_event_first(x: Exchange) -> None:
    await x.begin()
    await x.say(BAD_EVENT, *x.pieces)
    await x.end()


async def malformed_event_middle(x: Exchange) -> None:
    await x.begin()
    await x.say(*x.pieces[TO_CONTENT], BAD_EVENT, *x.pieces[AFTER_CONTENT])
    await x.end()


async def content_length_too_long(x: Exchange) -> None:
    """A stream breaks off after some content; a plain body is all there, but the length says otherwise."""
    await x.begin(length=len(b"".join(x.pieces)) + 100)
    await x.write(b"".join(x.pieces[TO_CONTENT] if x.stream else x.pieces))
    await x.content_seen()
    await x.close()


async def content_length_too_short(x: Exchange) -> None:
    await x.begin(length=len(b"".join(x.pieces[TO_CONTENT])) + 10)
    await x.write(b"".join(x.pieces[TO_CONTENT]))
    await x.content_seen()
    await x.write(b"".join(x.pieces[AFTER_CONTENT]))


async def pings_for_ever(x: Exchange) -> None:
    """Comments in a stream, white space before a JSON body."""
    await x.begin()
    while True:
        await x.say(b": ping\n\n" if x.stream else b" ")
        await asyncio.sleep(0.05)


async def talks_for_ever(x: Exchange) -> None:
    await x.begin()
    while True:
        await x.say(x.pieces[1])
        await asyncio.sleep(0.02)


async def hang_before_headers(x: Exchange) -> None:
    await x.hang()


async def hang_after_headers(x: Exchange) -> None:
    await x.begin()
    await x.hang()


async def hang_after_content(x: Exchange) -> None:
    await x.begin()
    await x.say(*x.pieces[TO_CONTENT])
    await x.hang()


async def empty_200(x: Exchange) -> None:
    if not x.stream:
        await x.reply(200, completion("", completion_tokens=0, total_tokens=3))
        return
    await x.begin()
    await x.say(ROLE, delta({}, "stop"), DONE)
    await x.end()


async def empty_body(x: Exchange) -> None:
    await x.begin(length=0)


async def gzip_body(x: Exchange) -> None:
    body = gzip.compress(b"".join(x.pieces))
    await x.begin(length=len(body), headers={"Content-Encoding": "gzip"})
    await x.write(body)


async def huge_event(x: Exchange) -> None:
    """One event that does not end; after 5 MB nothing more comes."""
    await x.begin()
    await x.say(b"data: " + b"x" * HUGE)
    await x.hang()


async def json_when_stream_asked(x: Exchange) -> None:
    await x.reply(200, json.dumps(error("server_error", None)).encode())


async def wrong_json_type(x: Exchange) -> None:
    if not x.stream:
        await x.reply(200, b"[1, 2, 3]")
        return
    await x.begin()
    await x.say(event([1, 2, 3]), DONE)
    await x.end()


async def no_choices(x: Exchange) -> None:
    if not x.stream:
        await x.reply(200, b'{"id": "x", "object": "chat.completion", "choices": []}')
        return
    await x.begin()
    await x.say(event({"id": "x", "object": "chat.completion.chunk", "choices": []}), DONE)
    await x.end()


FAULTS: dict[str, Fault] = {
    "ok": ok,
    "one_byte_at_a_time": one_byte_at_a_time,
    "html_200": html(200),
    "html_502": html(502),
    "status_400": status(400, LLAMACPP_400),
    "status_401": status(401, VLLM_401),
    "status_403": status(403),
    "status_404": status(404),
    "status_413": status(413),
    "status_422": status(422),
    "status_429": status(429),
    "status_429_retry_after": status(429, Retry_After="1"),
    "status_429_retry_after_300": status(429, Retry_After="300"),
    "status_500": status(500),
    "status_503": status(503),
    "status_503_retry_after": status(503, Retry_After="1"),
    "redirect": redirect,
    "not_http": not_http,
    "close_before_headers": close_before_headers,
    "reset_before_headers": reset_before_headers,
    "close_after_headers": close_after_headers,
    "reset_after_headers": reset_after_headers,
    "role_chunk_then_close": role_chunk_then_close,
    "role_chunk_then_hang": role_chunk_then_hang,
    "role_chunk_then_error_event": role_chunk_then_error_event,
    "cut_after_content": cut_after_content,
    "reset_after_content": reset_after_content,
    "clean_end_after_content": clean_end_after_content,
    "done_without_finish": done_without_finish,
    "finish_without_done": finish_without_done,
    "error_event_after_content": error_event_after_content,
    "malformed_event_first": malformed_event_first,
    "malformed_event_middle": malformed_event_middle,
    "content_length_too_long": content_length_too_long,
    "content_length_too_short": content_length_too_short,
    "pings_for_ever": pings_for_ever,
    "talks_for_ever": talks_for_ever,
    "hang_before_headers": hang_before_headers,
    "hang_after_headers": hang_after_headers,
    "hang_after_content": hang_after_content,
    "empty_200": empty_200,
    "empty_body": empty_body,
    "gzip_body": gzip_body,
    "huge_event": huge_event,
    "json_when_stream_asked": json_when_stream_asked,
    "wrong_json_type": wrong_json_type,
    "no_choices": no_choices,
}


async def _read_request(
    first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: FaultyServer
) -> Exchange:
    head = first + await reader.readuntil(b"\r\n\r\n")
    lengths = [line[15:] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    if b"\r\ntransfer-encoding: chunked\r\n" in head.lower():
        return Exchange(server, writer, head, await _chunks(reader))
    return Exchange(server, writer, head, await reader.readexactly(int(lengths[0]) if lengths else 0))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return body


def _object(body: bytes) -> dict[str, Any]:
    """Empty if the body is something else: passed-through requests carry anything."""
    try:
        fields = json.loads(body or b"{}")
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


async def _one_byte(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(1)
    except OSError:
        return b""


def _parts(data: bytes, count: int) -> list[bytes]:
    size = -(-len(data) // count)
    return [data[at : at + size] for at in range(0, len(data), size)]


def _now() -> float:
    return asyncio.get_running_loop().time()
