"""An upstream's answer as it was before a fault got hold of it: its bytes, whether they came from a socket or were made here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Protocol, runtime_checkable

from providers.answer import Answer
from providers.base import Provider, Request, Stream
from providers.http import MAX_BODY_BYTES, read_body
from providers.prompt import counts_unasked
from providers.sse import Splitter


@runtime_checkable
class Fetches(Protocol):
    """A provider whose answers come over HTTP, and can be had as they came. Optional."""

    async def fetch(self, request: Request, model: str, connect_timeout: float) -> Answer:
        """As ``Provider.open``, before anything is read of the body. Raises ``ProviderError``."""
        ...


class Original(Protocol):
    """Whoever has it closes it. ``headers`` have lower-case names. ``parts``: the events of a stream, or one whole body; asked for
    again, what is left of them.

    Iteration raises ``ProviderError`` where the upstream itself fails.
    """

    @property
    def headers(self) -> Mapping[str, str]: ...
    def parts(self) -> AsyncIterator[bytes]: ...
    async def aclose(self) -> None: ...


async def original_of(provider: Provider, request: Request, model: str, connect_timeout: float) -> Original:
    """Ask the upstream. Raises ``ProviderError``."""
    if isinstance(provider, Fetches):
        return _Fetched(await provider.fetch(request, model, connect_timeout), request, provider.name)
    asked = request
    if counts_unasked(request):  # a provider that calls no one tells the usage in its bytes only if the client asked
        options: Any = request.fields.get("stream_options")
        told = {**(options if isinstance(options, Mapping) else {}), "include_usage": True}
        asked = request._replace(fields={**request.fields, "stream_options": told})
    return _Made(await provider.open(asked, model, connect_timeout), request)


async def whole(original: Original) -> bytes:
    """The body of an answer that is not streamed. Raises ``ProviderError``."""
    return b"".join([part async for part in original.parts()])


class _Fetched:
    def __init__(self, answer: Answer, request: Request, name: str) -> None:
        self.headers = answer.headers
        self._answer = answer
        self._stream = request.stream
        self._name = name
        self._parts = self._read()

    def parts(self) -> AsyncIterator[bytes]:
        return self._parts

    async def aclose(self) -> None:
        self._answer.close()
        await self._parts.aclose()

    async def _read(self) -> AsyncGenerator[bytes]:
        if not self._stream:
            yield await read_body(self._answer, MAX_BODY_BYTES, self._name)
            return
        splitter = Splitter()
        while data := await self._answer.read():
            for event in splitter.feed(data):
                yield event
        if splitter.rest:
            yield splitter.rest


class _Made:
    def __init__(self, stream: Stream, request: Request) -> None:
        self.headers = {**stream.headers, "content-type": stream.media_type}
        self._stream = stream
        self._streamed = request.stream
        self._parts = self._read()

    def parts(self) -> AsyncIterator[bytes]:
        return self._parts

    async def aclose(self) -> None:
        await self._stream.aclose()
        await self._parts.aclose()

    async def _read(self) -> AsyncGenerator[bytes]:
        splitter = Splitter()
        async for chunk in self._stream:
            for part in splitter.feed(chunk.raw) if self._streamed else (chunk.raw,):
                yield part
