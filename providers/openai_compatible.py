"""The one deep adapter: any server that speaks OpenAI's HTTP API.

    open ─ POST ─ status? ──► EventStream: socket bytes → Splitter → Reader → Chunk, Chunk, …
                       └────► WholeBody:   one Chunk

Bytes pass as they came. A stream ends only if the answer is complete; ``[DONE]`` goes out only after every
choice has its ``finish_reason``, and is supplied if the upstream forgot it. One malformed event is dropped, and told at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from providers.answer import Answer
from providers.base import Chunk, Request, Stream, Usage
from providers.body import with_model, with_usage
from providers.errors import Disconnected, Malformed, ProviderError, Truncated
from providers.failures import from_event, from_status, travelling
from providers.forwarding import Forwarding, Outgoing, Patience
from providers.http import MAX_BODY_BYTES, MAX_ERROR_BODY_BYTES, Upstream, read_body
from providers.network import Network
from providers.parse_json import parse_json
from providers.prompt import choices_wanted, counts_unasked
from providers.reading import failure_in, reader_for, require_substance
from providers.recurrence import Recurrence
from providers.sse import Splitter, comments_of, parse

DONE = b"data: [DONE]\n\n"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NOT_YOURS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"}
)
_ERROR_EVENT = (b"event: error\n", b"event:error\n", b"event: error\r", b"event:error\r")
_NOT_EVENTS = ("text/html", "application/json", "application/xml", "text/xml")


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """``base_url`` ends where the endpoint's path begins: https://host/v1. ``headers`` go with every request."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    network: Network | None = None

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name) or name.lower() in _NOT_YOURS:
                raise ValueError(f"headers: {name!r} is not a header that can be set here")
            if not value.isprintable() or not value.isascii():
                raise ValueError(f"headers: the value of {name!r} holds a line break or is not plain ASCII")


class OpenAICompatible:
    """A provider over HTTP. Holds a pool of connections and nothing about any request."""

    # Whether a connection that has carried a stream may carry another request; and the path that a probe asks for.
    reuses_after_stream = True
    probed_path = "models"

    def __init__(self, name: str, options: HttpOptions) -> None:
        self.name = name
        headers = dict(options.headers)
        if options.api_key:
            headers["Authorization"] = f"Bearer {options.api_key}"
        self._upstream = Upstream(name, options.base_url, headers, options.network)

    async def open(self, request: Request, model: str, connect_timeout: float) -> Stream:
        return reading(await self.fetch(request, model, connect_timeout), request, self.name)

    async def fetch(self, request: Request, model: str, connect_timeout: float) -> Answer:
        """The answer before anything is read of its body: its status is 200. Raises ``ProviderError``."""
        body = request.body if request.fields.get("model") == model else with_model(request.body, model)
        if counts_unasked(request):
            body = with_usage(body)
        final = request.stream and not self.reuses_after_stream
        response = await self._upstream.post(request.endpoint, body, request.headers, connect_timeout, final=final)
        try:
            await self._check(response, request)
        except BaseException:
            response.close()
            raise
        return response

    async def forward(self, outgoing: Outgoing, patience: Patience) -> Forwarding:
        """Any other request, streamed both ways. Raises ``ProviderError``."""
        return await Forwarding.begin(self._upstream, outgoing, patience)

    async def probe(self, connect_timeout: float) -> None:
        """``probed_path`` costs nothing; whatever the answer is, below 500 somebody is there."""
        response = await self._upstream.get(self.probed_path, connect_timeout)
        status = response.status
        response.close()
        if status >= 500:
            raise from_status(status, response.headers, b"", self.name)

    async def aclose(self) -> None:
        await self._upstream.aclose()

    async def _check(self, response: Answer, request: Request) -> None:
        if response.status != 200:
            raise from_status(response.status, response.headers, await self._error_body(response), self.name)
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise Malformed(f"{self.name} compressed its answer ({encoding}), which nobody asked for")
        if request.stream and response.media_type in _NOT_EVENTS:
            await self._explain_no_events(response)

    async def _error_body(self, response: Answer) -> bytes:
        try:
            return await read_body(response, MAX_ERROR_BODY_BYTES, self.name)
        except ProviderError:  # too large or cut: the status says enough
            return b""

    async def _explain_no_events(self, response: Answer) -> None:
        """A body where a stream was asked for: its own error if it names one."""
        body = await read_body(response, MAX_ERROR_BODY_BYTES, self.name)
        payload = _object(body)
        if payload is not None and (error := failure_in(payload)) is not None:
            raise from_event(error, self.name)
        raise Malformed(f"{self.name} sent {response.media_type} where a stream of events was asked for")


def reading(response: Answer, request: Request, name: str) -> EventStream | WholeBody:
    """What the answer of ``name`` to ``request`` is, read as OpenAI's API has it."""
    return EventStream(response, request, name) if request.stream else WholeBody(response, request, name)


class WholeBody:
    """An answer that was not streamed: one chunk, checked to be an answer at all."""

    def __init__(self, response: Answer, request: Request, name: str) -> None:
        self.headers = travelling(response.headers)
        self.media_type = "application/json"
        self._response = response
        self._reader = reader_for(request.endpoint)
        self._name = name
        self._read = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        if self._read:
            raise StopAsyncIteration
        self._read = True
        raw = await read_body(self._response, MAX_BODY_BYTES, self._name)
        payload = _object(raw)
        if payload is None:
            raise Malformed(f"{self._name} sent no JSON object ({self._response.media_type}, {len(raw)} bytes)")
        if (error := failure_in(payload)) is not None:
            raise from_event(error, self._name)
        self._reader.body(payload)
        return Chunk(raw, content=True, usage=self._reader.usage)

    async def aclose(self) -> None:
        self._response.close()


class EventStream:
    """A streamed answer: whole events as they come, several in a chunk if they came in one read."""

    def __init__(self, response: Answer, request: Request, name: str) -> None:
        self.headers = travelling(response.headers)
        self.media_type = "text/event-stream"
        self._response = response
        self._reader = reader_for(request.endpoint)
        self._splitter = Splitter()
        self._recurrence = Recurrence()
        self._wanted = choices_wanted(request)
        self._hides_usage = counts_unasked(request)
        self._usage: Usage | None = None
        self._name = name
        self._ended = False
        self._failure: ProviderError | None = None
        self._flaw: ProviderError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        while not self._ended:
            if self._failure is not None:
                raise self._failure
            data = await self._response.read()
            if not self._splitter.rest and self._recurrence.fits(data):  # one whole event, and nothing new in it
                return Chunk(data, 1, True)
            chunk = self._digest(self._splitter.feed(data)) if data else self._at_eof()
            if chunk is not None:
                return chunk
        self._response.leave()
        if self._flaw is not None:
            raise StopAsyncIteration(self._flaw)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._response.close()

    def _digest(self, events: list[bytes]) -> Chunk | None:
        """What may go on of ``events``. An error among them is raised after what came before it."""
        raws: list[bytes] = []
        content = False
        counted = 0
        for event in events:
            if self._recurrence.fits(event):
                content = True
                counted += 1
                raws.append(event)
                continue
            raw, data = parse(event)
            if data is None:
                if comment := comments_of(event):
                    raws.append(comment)  # it keeps the client's connection alive too
                continue
            try:
                bears = self._take(data, event)
            except ProviderError as failure:
                self._failure = failure
                break
            if bears is not None:
                content |= bears
                counted += 1
                raws.append(raw)
            if self._ended:
                break
        if not raws:
            return None
        raw = raws[0] if len(raws) == 1 else b"".join(raws)
        usage = self._reader.usage
        if usage is self._usage:
            return Chunk(raw, counted, content)
        self._usage = usage
        return Chunk(raw, counted, content, usage)

    def _take(self, data: bytes, event: bytes) -> bool | None:
        """One event's data: whether it bears content, or None if it is to be dropped."""
        if not data:
            return None
        if data == b"[DONE]":
            self._end()
            return False
        try:
            payload = parse_json(data)
        except ValueError:
            payload = None
        if not isinstance(payload, dict):  # dropped: it would break the client's parser, not only ours
            if data.startswith(b"{"):  # what was to be one; the answer has a hole now
                self._flaw = Malformed(f"{self._name} sent an event that is broken JSON")
            return None
        error = failure_in(payload)
        if error is not None or event.startswith(_ERROR_EVENT):
            raise from_event(error or payload, self._name)
        reader = self._reader
        bears = reader.event(payload)
        if bears:
            self._recurrence.learn(event, payload)
        elif self._hides_usage and payload.get("choices") == [] and payload.get("usage"):
            return None
        if not reader.done_marker and reader.complete:
            self._end()
        return bears

    def _end(self) -> None:
        if not self._reader.complete:
            raise Truncated(f"{self._name} ended its answer before it was finished")
        require_substance(self._reader)
        self._ended = True

    def _at_eof(self) -> Chunk | None:
        """The socket's end: fine after a finished answer, with or without ``[DONE]``."""
        rest = self._splitter.rest.strip()
        if rest:  # the last event without its blank line
            chunk = self._digest([rest + b"\n\n"])
            if self._ended or self._failure is not None:
                return chunk
            if chunk is not None:
                self._splitter = Splitter()
                return chunk
        if not self._reader.content and not self._reader.complete:
            raise Disconnected(f"{self._name} closed the stream before any content")
        if self._reader.done_marker and self._reader.complete and self._reader.choices < self._wanted:
            raise Truncated(f"{self._name} ended its answer after {self._reader.choices} of {self._wanted} choices")
        self._end()
        return Chunk(DONE) if self._reader.done_marker else None


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        payload = parse_json(data)
    except ValueError:
        return None
    return payload if isinstance(payload, dict) else None
