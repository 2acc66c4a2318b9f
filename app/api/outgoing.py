"""What of a client's request travels on to a provider: method, path and query as they came, a few headers, no credentials."""

from __future__ import annotations

import re

from app.api.asgi import Scope
from app.api.errors import ApiError
from app.api.exchange import Exchange
from providers.forwarding import Outgoing

# An allow-list. What chooses an account stays here (OpenAI-Organization, OpenAI-Project): whose key it is says that. So
# does what only tells the provider who the client is (User-Agent, X-Stainless-*).
_TRAVELLING = frozenset(
    {
        b"accept",
        b"accept-language",
        b"content-encoding",
        b"content-type",
        b"endpoint-load-metrics-format",
        b"idempotency-key",
        b"range",
        b"traceparent",
        b"tracestate",
        b"x-client-request-id",
        b"x-data-parallel-rank",
    }
)
_FAMILIES = (b"if-", b"openai-")
_ACCOUNT = frozenset({b"openai-organization", b"openai-project"})
_QUERY = re.compile(rb"[!-~]*")


def outgoing(exchange: Exchange, scope: Scope) -> Outgoing:
    """Raises ``ApiError`` 400 for a query that is not plain ASCII."""
    query: bytes = scope["query_string"]
    if not _QUERY.fullmatch(query):
        raise ApiError(400, "the query holds bytes that must be percent-encoded", code="invalid_query")
    target = scope["raw_path"].removeprefix(b"/v1") + (b"?" + query if query else b"")
    return Outgoing(exchange.method, target.decode("ascii"), _headers(exchange), _length(exchange.headers))


def check_origin(method: str, headers: dict[bytes, bytes]) -> None:
    """A web page may post forms and text anywhere without asking, but no JSON and no credentials. Raises ``ApiError`` 400."""
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if (
        method == "POST"
        and b"origin" in headers
        and media_type != b"application/json"
        and b"authorization" not in headers
        and b"x-api-key" not in headers
    ):
        message = "a web page must send JSON or an Authorization header: anything else could come from any page"
        raise ApiError(400, message, code="invalid_content_type")


def _headers(exchange: Exchange) -> dict[str, str]:
    given = exchange.headers
    unwanted = {name.strip().lower() for name in given.get(b"connection", b"").split(b",")} | _ACCOUNT
    travelling = {
        name.decode(): value.decode("latin-1")
        for name, value in given.items()
        if (name in _TRAVELLING or name.startswith(_FAMILIES)) and name not in unwanted
    }
    return travelling | {"x-request-id": exchange.request_id}


def _length(headers: dict[bytes, bytes]) -> int | None:
    if b"transfer-encoding" in headers:
        return None
    return int(headers.get(b"content-length", b"0"))
