"""What ``bench.faults`` breaks, and what it looks with: upstreams that are well, and a client that sees every byte.

The upstreams know just enough of the OpenAI API, streamed and not, and count what reaches them by the model that is asked for.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

FIRST_SECONDS = 0.02
# Long enough that five hundred bytes are in the middle of a plain answer too.
WORDS = tuple(
    f"{word}-{word}-{word}-{word}-{word}-{word} "
    for word in ("grüße", "from", "the", "other", "side", "of", "every", "fault")
)
WORD_SECONDS = 0.004
TEXT = "".join(WORDS)
USAGE = {"prompt_tokens": 3, "completion_tokens": len(WORDS), "total_tokens": 3 + len(WORDS)}
DONE = "[DONE]"


class Upstream:
    """Answers everybody, always the same. ``posts`` are the calls for inference by model."""

    def __init__(self) -> None:
        self.posts: Counter[str] = Counter()
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            try:
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
                    body = await reader.readexactly(int(fields.get("content-length", "0")))
                    await self._answer(json.loads(body) if head.startswith("post") else None, writer)
            finally:
                writer.close()

    async def _answer(self, asked: dict[str, Any] | None, writer: asyncio.StreamWriter) -> None:
        if asked is None:  # a probe
            _write_json(writer, {"object": "list", "data": []})
        else:
            self.posts[asked["model"]] += 1
            await asyncio.sleep(FIRST_SECONDS)
            if asked.get("stream"):
                await _stream(writer, asked)
            else:
                _write_json(writer, _payload("chat.completion", {"message": _message(TEXT)}, "stop") | {"usage": USAGE})
        await writer.drain()


async def _stream(writer: asyncio.StreamWriter, asked: Mapping[str, Any]) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    _write_event(writer, _payload("chat.completion.chunk", {"delta": _message("")}))
    for word in WORDS:
        _write_event(writer, _payload("chat.completion.chunk", {"delta": {"content": word}}))
        await asyncio.sleep(WORD_SECONDS)
    _write_event(writer, _payload("chat.completion.chunk", {"delta": {}}, "stop"))
    if (asked.get("stream_options") or {}).get("include_usage"):
        _write_event(writer, _payload("chat.completion.chunk") | {"choices": [], "usage": USAGE})
    _write_chunk(writer, f"data: {DONE}\n\n")
    writer.write(b"0\r\n\r\n")


def _message(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _payload(kind: str, said: Mapping[str, Any] | None = None, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, **(said or {})}
    return {"id": "x", "object": kind, "created": 1, "model": "m", "choices": [choice]}


def _write_event(writer: asyncio.StreamWriter, payload: Mapping[str, Any]) -> None:
    _write_chunk(writer, f"data: {json.dumps(payload, ensure_ascii=False)}\n\n")


def _write_chunk(writer: asyncio.StreamWriter, text: str) -> None:
    if writer.is_closing():
        raise ConnectionResetError
    data = text.encode()
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def _write_json(writer: asyncio.StreamWriter, payload: Mapping[str, Any]) -> None:
    body = json.dumps(payload, ensure_ascii=False).encode()
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )


@dataclass(slots=True)
class Seen:
    """One answer as it came over the wire. ``whole``: HTTP says so; ``seconds`` until its end, ``first`` until its first content.
    ``data`` are the events' data, of a stream.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False
    seconds: float = 0.0
    first: float | None = None

    @property
    def stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def data(self) -> list[str]:
        return [line.removeprefix("data: ") for line in self.body.decode().splitlines() if line.startswith("data:")]

    @property
    def events(self) -> list[Any]:
        """A plain answer is one."""
        return [json.loads(data) for data in self.data if data != DONE] if self.stream else [json.loads(self.body)]

    @property
    def done(self) -> bool:
        """Its client takes it for complete."""
        return self.whole and (DONE in self.data if self.stream else self.status == 200)

    @property
    def error(self) -> str | None:
        """The code, of the whole answer or of an event in it."""
        errors = [event["error"]["code"] for event in self.events if "error" in event]
        return errors[-1] if errors else None

    @property
    def text(self) -> str:
        said = [
            choice.get("delta") or choice.get("message") or {} for event in self.events for choice in event["choices"]
        ]
        return "".join(one.get("content") or "" for one in said)

    @property
    def usages(self) -> list[Any]:
        return [event["usage"] for event in self.events if event.get("usage")]


class Client:
    """Sends each request on a connection of its own, and hangs up only at the end, as one with a pool does."""

    def __init__(self, port: int, patience: float) -> None:
        self._port = port
        self._patience = patience
        self._open: list[asyncio.StreamWriter] = []

    def hang_up(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def chat(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Seen:
        """Raises ``TimeoutError``."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._open.append(writer)
        payload = json.dumps(body).encode()
        fields = {"Host": "gateway", "Content-Type": "application/json", "Content-Length": str(len(payload))}
        lines = [f"{name}: {value}" for name, value in (fields | dict(headers)).items()]
        seen, began = Seen(), time.monotonic()
        async with asyncio.timeout(self._patience):
            writer.write("\r\n".join(["POST /v1/chat/completions HTTP/1.1", *lines, "", ""]).encode() + payload)
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
            seen.status = int(first.split()[1])
            seen.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await _read(reader, seen, began)
        seen.seconds = time.monotonic() - began
        return seen


async def _read(reader: asyncio.StreamReader, seen: Seen, began: float) -> None:
    if "content-length" in seen.headers:
        seen.body = await reader.readexactly(int(seen.headers["content-length"]))
        seen.whole = True
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        seen.body += (await reader.readexactly(size + 2))[:-2]
        if seen.first is None and b'"content":' in seen.body:
            seen.first = time.monotonic() - began
    seen.whole = True
