"""Change one top-level member of a JSON body and leave every other byte as it came.

Number spellings, key order, escapes and unknown members survive; nothing is re-serialised.
"""

from __future__ import annotations

import json
import re

import orjson

from providers.parse_json import parse_json

# Strings are matched in runs between escapes, possessively: a group that repeated per byte would cost 100 bytes each.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKEN = re.compile(_STRING + rb"|[{}\[\]]", re.DOTALL)
_COLON = re.compile(rb"\s*:\s*")
_COLON_STRING = re.compile(rb"\s*:\s*(" + _STRING + rb")", re.DOTALL)
_SCALAR = re.compile(_STRING + rb"|[^,{}\[\]\s]+", re.DOTALL)
_MODEL = b'"model"'
_USAGE = b'"stream_options":{"include_usage":true}'


def with_model(body: bytes, model: str) -> bytes:
    """``body``, a JSON object whose top-level ``model`` is a string, with that string replaced."""
    value = orjson.dumps(model)
    # Exactly one spelling of the key in the bytes, and no escapes that could spell it otherwise: it is the one.
    if body.count(_MODEL) == 1 and b"\\u00" not in body:
        found = _COLON_STRING.match(body, body.index(_MODEL) + len(_MODEL))
        if found is not None:
            return body[: found.start(1)] + value + body[found.end(1) :]
    parts = []
    copied = 0
    for start, end in _top_level(body, "model"):
        parts += [body[copied:start], value]
        copied = end
    return b"".join([*parts, body[copied:]])


def with_usage(body: bytes) -> bytes:
    """``body``, a JSON object with a member at least, with ``stream_options.include_usage`` true."""
    spans = _top_level(body, "stream_options") if b"stream_options" in body or b"\\u" in body else []
    if not spans:
        brace = body.index(b"{") + 1
        return body[:brace] + _USAGE + b"," + body[brace:]
    parts = []
    copied = 0
    for start, end in spans:
        options = parse_json(body[start:end])
        asked = (options if isinstance(options, dict) else {}) | {"include_usage": True}
        parts += [body[copied:start], json.dumps(asked).encode()]
        copied = end
    return b"".join([*parts, body[copied:]])


def _top_level(body: bytes, key: str) -> list[tuple[int, int]]:
    """Where the values of a top-level key lie; more than one if the client repeated it."""
    spelled = b'"' + key.encode() + b'"'
    found = []
    depth = 0
    resume = 0
    opened: int | None = None  # where a value that is an object or an array began
    for token in _TOKEN.finditer(body):
        if token.start() < resume:
            continue
        text = token.group()
        if text in (b"{", b"["):
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
            if depth == 1 and opened is not None:
                found.append((opened, token.end()))
                opened = None
        elif depth == 1 and (text == spelled or (b"\\u" in text and parse_json(text) == key)):
            colon = _COLON.match(body, token.end())
            if colon is None:  # a string in the place of a value
                continue
            scalar = _SCALAR.match(body, colon.end())
            if scalar is None:
                opened = colon.end()
            else:
                found.append(scalar.span())
                resume = scalar.end()
    return found
