"""Write an answer: plain, streamed or an error. Here the status line leaves; nothing is retried after it."""

from __future__ import annotations

from time import perf_counter

from app.api.asgi import Send
from app.api.client_watch import ClientGone
from app.api.errors import ErrorAnswer
from app.api.exchange import Exchange
from providers.sse import encode
from router import Reply

_JSON = (b"content-type", b"application/json")
_EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


async def send_reply(exchange: Exchange, reply: Reply, send: Send) -> None:
    """Raises what ``Reply`` raises, also when the answer has begun: ``send_error`` knows what to do then."""
    exchange.target = reply.target
    if reply.media_type == "text/event-stream":
        await _send_stream(exchange, reply, send)
    else:
        await _send_body(exchange, reply, send)


async def _send_body(exchange: Exchange, reply: Reply, send: Send) -> None:
    chunks = [chunk async for chunk in reply]
    body = chunks[0].raw if len(chunks) == 1 else b"".join([chunk.raw for chunk in chunks])
    exchange.usage = chunks[-1].usage
    headers = [_JSON, (b"content-length", b"%d" % len(body)), *_headers(exchange, reply)]
    await _start(exchange, 200, headers, send)
    await send({"type": "http.response.body", "body": body})
    exchange.bytes_out = len(body)


async def _send_stream(exchange: Exchange, reply: Reply, send: Send) -> None:
    await _start(exchange, 200, [*_EVENT_STREAM, *_headers(exchange, reply)], send)
    async for raw, _events, _content, usage in reply:
        exchange.bytes_out += len(raw)
        if usage is not None:
            exchange.usage = usage
        await send({"type": "http.response.body", "body": raw, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def send_error(exchange: Exchange, answer: ErrorAnswer, send: Send) -> None:
    """A status and an error object; or, in a stream that has begun, one last event."""
    exchange.error = answer.code
    try:
        await (_send_error if exchange.first_byte is None else _break_off)(exchange, answer, send)
    except ClientGone as gone:
        exchange.left(stalled=gone.stalled)


async def _send_error(exchange: Exchange, answer: ErrorAnswer, send: Send) -> None:
    body = answer.encoded()
    headers = [
        _JSON,
        (b"content-length", b"%d" % len(body)),
        *exchange.routing_headers(),
        *((name.encode(), value.encode("latin-1", "replace")) for name, value in answer.headers.items()),
    ]
    await _start(exchange, answer.status, headers, send)
    await send({"type": "http.response.body", "body": body})
    exchange.bytes_out = len(body)


async def _break_off(exchange: Exchange, answer: ErrorAnswer, send: Send) -> None:
    """Never the last, empty body: without it the server aborts the chunked encoding, so that even a client that
    ignores the error event cannot take the answer for a complete one.
    """
    exchange.end = "cut"
    if exchange.stream:
        await send({"type": "http.response.body", "body": encode(answer.as_object()), "more_body": True})


def _headers(exchange: Exchange, reply: Reply) -> list[tuple[bytes, bytes]]:
    headers = exchange.routing_headers()
    headers += [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in reply.headers.items()]
    return headers


async def _start(exchange: Exchange, status: int, headers: list[tuple[bytes, bytes]], send: Send) -> None:
    exchange.status = status
    exchange.first_byte = perf_counter()
    await send({"type": "http.response.start", "status": status, "headers": headers})
