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


BYTES_PER_TOKEN = 4  # English text; others have fewer
SMALL_BODY_BYTES = 65_536
PICTURE_TOKENS = 1_000


def prompt_tokens(request: Request) -> int:
    """About how many tokens the prompt has. In a large body pictures and files are counted apart, by their number."""
    size = len(request.body)
    if size <= SMALL_BODY_BYTES:
        return size // BYTES_PER_TOKEN
    words = request.fields.get(_PROMPTS[request.endpoint])
    return _size(words) // BYTES_PER_TOKEN


_PROMPTS = {
    Endpoint.CHAT: "messages",
    Endpoint.COMPLETIONS: "prompt",
    Endpoint.EMBEDDINGS: "input",
    Endpoint.RESPONSES: "input",
}


def _size(content: Any, depth: int = 0) -> int:
    """Characters of text, and what a picture or a file counts for instead of its own."""
    if isinstance(content, str):
        return len(content) if not content.startswith("data:") else PICTURE_TOKENS * BYTES_PER_TOKEN
    if depth > 8:
        return 0
    if isinstance(content, Mapping):
        if "file_data" in content or "data" in content:
            return PICTURE_TOKENS * BYTES_PER_TOKEN
        return sum(_size(inner, depth + 1) for inner in content.values())
    if isinstance(content, list):
        return sum(_size(inner, depth + 1) for inner in content)
    return 1


_LIMITS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})


def output_limit(request: Request) -> int | None:
    """The least of the caps that the client set, in tokens."""
    fields = request.fields
    least: int | None = None
    if _LIMITS.isdisjoint(fields):  # as with most
        return least
    for name in _LIMITS:
        limit = fields.get(name)
        if type(limit) is int and limit > 0 and (least is None or limit < least):
            least = limit
    return least


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
