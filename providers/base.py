"""The seam to the outside: one verb, ``open``, and the shapes that cross it.

A provider turns a Request into a Stream of Chunks. An answer that was not streamed is a stream of one
chunk, so that everything above has one code path. Failures leave as ``providers.errors.ProviderError``
and as nothing else, from ``open`` as well as from every chunk. Nothing here knows of routing or retries.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable


class Endpoint(StrEnum):
    """The value is the path below a provider's ``base_url``."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"


class Injected(NamedTuple):
    """A fault, by its id and kind, that an attempt at ``target``, provider/model, has met on purpose."""

    fault: str
    kind: str
    target: str


class Request(NamedTuple):
    """One client request, the same for every attempt.

    ``body`` is what the client sent, ``fields`` the same parsed (read only). ``headers`` holds the few request
    headers that travel upstream, lower case. ``created`` is the wall clock in whole seconds. ``metered``: somebody here
    wants to know the tokens of a stream, whether or not the client asked for them. ``session`` names what belongs
    together. ``faults``: where those that are injected into its attempts are written down; None: nobody wants to know.
    """

    id: str
    endpoint: Endpoint
    body: bytes
    fields: Mapping[str, Any]
    stream: bool
    headers: Mapping[str, str]
    created: int = 0
    metered: bool = False
    session: str | None = None
    faults: list[Injected] | None = None


class Usage(NamedTuple):
    """Tokens as the upstream counted them."""

    input_tokens: int
    output_tokens: int


class Chunk(NamedTuple):
    """Bytes to forward as they are, and what was seen in them.

    ``raw`` holds whole SSE events, or a whole JSON body. ``events`` counts the data events in it: 0 is a ping.
    ``content`` is true if any of them bears content (text, tool call, reasoning).
    """

    raw: bytes
    events: int = 1
    content: bool = False
    usage: Usage | None = None


class Stream(Protocol):
    """An open answer. Whoever holds it closes it; ``aclose`` may be called at any time, also twice.

    Iteration ends only if the answer is complete; else it raises ``ProviderError``. A ``StopAsyncIteration`` may bring one as
    its argument: complete, but something of it had to be left out. ``headers`` are those of
    the upstream's response headers that may travel to the client.
    """

    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def media_type(self) -> str: ...
    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> Chunk: ...
    async def aclose(self) -> None: ...


class Provider(Protocol):
    """One configured upstream. ``open`` returns when the answer has begun, not when it bears content."""

    name: str

    async def open(self, request: Request, model: str, connect_timeout: float) -> Stream:
        """Send ``request`` for ``model``; ``connect_timeout`` in seconds. Raises ``ProviderError``."""
        ...

    async def aclose(self) -> None: ...


@runtime_checkable
class Probed(Protocol):
    """A provider that can be asked at next to no cost whether it is there. Optional."""

    async def probe(self, connect_timeout: float) -> None:
        """``connect_timeout`` in seconds. Raises ``ProviderError`` if it is not there."""
        ...
