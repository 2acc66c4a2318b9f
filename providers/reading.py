"""What an OpenAI-shaped answer means, per endpoint: content, end, usage.

A Reader follows one answer. It looks at parsed events and never changes them. It does not know HTTP, SSE
framing or who called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from providers.base import Endpoint, Usage
from providers.errors import Empty, Malformed


class Reader(Protocol):
    """``complete``: what has begun of the answer has ended as it should; ``choices`` is how many have.

    ``done_marker``: the protocol ends with ``[DONE]``.
    """

    @property
    def complete(self) -> bool: ...
    @property
    def choices(self) -> int: ...
    @property
    def content(self) -> bool: ...
    @property
    def usage(self) -> Usage | None: ...
    @property
    def done_marker(self) -> bool: ...

    def event(self, payload: dict[str, Any]) -> bool:
        """Take one streamed event; true if it bears content."""
        ...

    def body(self, payload: dict[str, Any]) -> None:
        """Take a whole body that was not streamed. Raises ``Malformed`` or ``Empty``."""
        ...


class ChoicesReader:
    """Chat completions and completions: choices, each with a ``finish_reason`` at its end."""

    done_marker = True

    def __init__(self, says: Callable[[dict[str, Any]], bool]) -> None:
        self._says = says
        self._open: set[int] = set()
        self._finished: set[int] = set()
        self.content = False
        self.usage: Usage | None = None

    @property
    def complete(self) -> bool:
        """Every choice that has begun has ended."""
        return bool(self._finished) and not self._open

    @property
    def choices(self) -> int:
        return len(self._finished)

    def event(self, payload: dict[str, Any]) -> bool:
        usage = payload.get("usage")
        if usage:
            self.usage = read_usage(usage) or self.usage
        content = False
        choices = payload.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            index = choice.get("index")
            if not isinstance(index, int):
                index = 0
            if self._says(choice):
                content = True
            reason = choice.get("finish_reason")
            if not reason:
                if index not in self._finished:
                    self._open.add(index)
                continue
            self._open.discard(index)
            self._finished.add(index)
            # A bare "stop" may be an outage that answers 200 and nothing; any other reason explains itself.
            if reason != "stop":
                content = True
        if content:
            self.content = True
        return content

    def body(self, payload: dict[str, Any]) -> None:
        if not _dicts(payload.get("choices")):
            raise Malformed("the answer has no choices")
        self.event(payload)
        require_substance(self)


def require_substance(reader: Reader) -> None:
    """Raise ``Empty`` if a complete answer says nothing and no output token was counted."""
    if not reader.content and not (reader.usage and reader.usage.output_tokens > 0):
        raise Empty("the answer is empty")


class EmbeddingsReader:
    """Embeddings: a list of vectors, never streamed."""

    done_marker = False
    choices = 1

    def __init__(self) -> None:
        self.complete = False
        self.content = False
        self.usage: Usage | None = None

    def event(self, payload: dict[str, Any]) -> bool:
        self.body(payload)
        return True

    def body(self, payload: dict[str, Any]) -> None:
        data = payload.get("data")
        if not isinstance(data, list):
            raise Malformed("the answer has no data")
        if not data:
            raise Empty("the answer holds no vector")
        self.content = self.complete = True
        self.usage = read_usage(payload.get("usage"))


class ResponsesReader:
    """The Responses API: typed events, a terminal one, no ``[DONE]``."""

    done_marker = False
    choices = 1
    _ENDED = frozenset({"response.completed", "response.incomplete"})

    def __init__(self) -> None:
        self.complete = False
        self.content = False
        self.usage: Usage | None = None

    def event(self, payload: dict[str, Any]) -> bool:
        kind = payload.get("type")
        if not isinstance(kind, str):
            return False
        if kind in self._ENDED:
            self.complete = True
            self._take(payload.get("response"))
            return self.content
        content = kind.endswith(".delta") and bool(payload.get("delta"))
        self.content |= content
        return content

    def body(self, payload: dict[str, Any]) -> None:
        if not isinstance(payload.get("output"), list):
            raise Malformed("the answer has no output")
        self.complete = True
        self._take(payload)
        if payload.get("status") in ("queued", "in_progress"):  # a background response: its id is the answer
            self.content = True
        require_substance(self)

    def _take(self, response: Any) -> None:
        if not isinstance(response, dict):
            return
        self.usage = read_usage(response.get("usage"))
        if response.get("output") or response.get("status") == "incomplete":
            self.content = True


def reader_for(endpoint: Endpoint) -> Reader:
    if endpoint is Endpoint.CHAT:
        return ChoicesReader(_chat_says)
    if endpoint is Endpoint.COMPLETIONS:
        return ChoicesReader(_completion_says)
    if endpoint is Endpoint.RESPONSES:
        return ResponsesReader()
    return EmbeddingsReader()


def failure_in(payload: dict[str, Any]) -> Any:
    """The error that an event or a body reports although its status was 200; None if all is well."""
    error = payload.get("error")
    if error:
        return error
    kind = payload.get("type")
    if kind == "error":
        return payload
    if kind == "response.failed" or payload.get("status") == "failed":
        response = payload.get("response", payload)
        return (isinstance(response, dict) and response.get("error")) or "failed"
    return None


def read_usage(usage: Any) -> Usage | None:
    """Both spellings: prompt/completion_tokens, and input/output_tokens of the Responses API."""
    if not isinstance(usage, dict):
        return None
    taken = usage.get("prompt_tokens", usage.get("input_tokens"))
    given = usage.get("completion_tokens", usage.get("output_tokens", 0))
    if not isinstance(taken, int) or not isinstance(given, int):
        return None
    return Usage(taken, given)


def _chat_says(choice: dict[str, Any]) -> bool:
    # Any member but the role counts: content, tool_calls, refusal, audio, reasoning and what comes next year.
    message = choice.get("delta") or choice.get("message")
    if not isinstance(message, dict):
        return False
    for key, value in message.items():  # noqa: SIM110 - a generator per event would cost more than the rest of this
        if value and key != "role":
            return True
    return False


def _completion_says(choice: dict[str, Any]) -> bool:
    return bool(choice.get("text"))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
