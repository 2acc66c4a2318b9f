"""Read a prompt as text, and its limits, from a request of any endpoint. For providers that answer by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providers.base import Endpoint, Request


def prompt_of(request: Request) -> str:
    """The last user message, or the prompt; empty if there is none."""
    fields = request.fields
    if request.endpoint is Endpoint.COMPLETIONS:
        return _text(fields.get("prompt"))
    asked = fields.get("messages" if request.endpoint is Endpoint.CHAT else "input")
    if isinstance(asked, str):
        return asked
    for message in reversed(asked if isinstance(asked, list) else []):
        if isinstance(message, Mapping) and message.get("role", "user") == "user":
            return _text(message.get("content"))
        if isinstance(message, str):
            return message
    return ""


def prompt_words(request: Request) -> int:
    """All the words that the client sent, as a stand-in for tokens."""
    fields = request.fields
    if request.endpoint is Endpoint.CHAT:
        messages = fields.get("messages")
        contents = [m.get("content") for m in messages if isinstance(m, Mapping)] if isinstance(messages, list) else []
        return sum(len(_text(content).split()) for content in contents)
    asked = fields.get("prompt" if request.endpoint is Endpoint.COMPLETIONS else "input")
    items = asked if isinstance(asked, list) else [asked]
    return sum(len(_text(item).split()) for item in items)


def output_limit(request: Request) -> int | None:
    """The least of the caps that the client set, in tokens."""
    caps = (request.fields.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"))
    limits = [cap for cap in caps if isinstance(cap, int) and not isinstance(cap, bool) and cap > 0]
    return min(limits, default=None)


def wants_usage(request: Request) -> bool:
    options = request.fields.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def counts_unasked(request: Request) -> bool:
    """True if we ask for the usage of a stream whose client did not: it is ours, and hidden from the client."""
    streams = request.stream and request.endpoint in (Endpoint.CHAT, Endpoint.COMPLETIONS)
    return request.metered and streams and not wants_usage(request)


def choices_wanted(request: Request) -> int:
    n = request.fields.get("n")
    return min(n, 16) if isinstance(n, int) and not isinstance(n, bool) and n > 0 else 1


def _text(content: Any, depth: int = 0) -> str:
    if isinstance(content, str):
        return content.encode("utf-8", "replace").decode()  # half an emoji can be read, but not written
    if depth > 8:  # no dialect nests deeper; the parser allows a thousand levels
        return ""
    if isinstance(content, Mapping):
        return _text(content.get("text", content.get("content")), depth + 1)
    if isinstance(content, list):
        return " ".join(filter(None, (_text(part, depth + 1) for part in content)))
    return ""
