"""Which paths may travel on to a provider: judged, compared and sent as the bytes that came, and never decoded.

Two servers that read one path differently are how a check is walked around (CVE-2026-73511): so a path with more than
one reading is none that we know.
"""

from __future__ import annotations

import re

# Segments of unreserved characters and colons. No empty one, so no // and no / at the end; no ; and no backslash. Of the
# escapes none that would mean something once it is decoded: controls # % . / ; ? \ and DEL.
_SEGMENT = rb"(?!\.{1,2}(?:/|\Z))(?:[A-Za-z0-9._~:-]|%(?!0|1|23|25|2[eEfF]|3[bBfF]|5[cC]|7[fF])[0-9A-Fa-f]{2})+"
_CLEAN = re.compile(rb"/v1(?:/" + _SEGMENT + rb")+")
_RESPONSE = re.compile(rb"/v1/responses/([^/]+)(?:/(cancel|input_items))?")
_RESPONSE_METHODS = {b"": ("GET", "DELETE"), b"cancel": ("POST",), b"input_items": ("GET",)}


def is_clean(raw: bytes) -> bool:
    """It begins with /v1/ and can be read in one way only."""
    return _CLEAN.fullmatch(raw) is not None


def falls_under(raw: bytes, pattern: str) -> bool:
    """A pattern is a path, or a path and ``/*``: that one path and everything below it."""
    exact = pattern.encode()
    if not exact.endswith(b"/*"):
        return raw == exact
    return raw == exact[:-2] or raw.startswith(exact[:-1])


def response_id(method: str, raw: bytes) -> str | None:
    """The id in a request for one stored response: retrieve, delete, cancel, list what went in."""
    found = _RESPONSE.fullmatch(raw)
    if found is None or method not in _RESPONSE_METHODS[found[2] or b""]:
        return None
    return found[1].decode("ascii", "replace")
