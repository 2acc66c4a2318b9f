"""Who may talk to the admin API: whoever sends its token in the Authorization header. Everything is closed but the index."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qsl, urlsplit

import structlog
from starlette.responses import Response

from app.api.asgi import App, Message, Receive, Scope, Send
from app.api.errors import INVALID, ErrorAnswer
from app.api.exchange import Exchange

log: structlog.stdlib.BoundLogger = structlog.get_logger("breakwater")

OPEN_PATH = b"/"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_IN_URL = frozenset({"token", "access_token", "api_key", "apikey", "key", "authorization", "bearer"})
# Nothing of it belongs into a cache, or is to be taken for something else.
_HEADERS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]


class Access:
    """``app`` for those who have ``token``. It asks before anything else does, so a path cannot be forgotten."""

    def __init__(self, app: App, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        exchange: Exchange = scope["exchange"]
        refusal = self._refusal(scope, exchange.headers)
        if refusal is None:
            await self._app(scope, receive, sealed)
            return
        exchange.error = refusal.code
        log.warning("admin refused", reason=refusal.code, client=exchange.client)
        response = Response(refusal.encoded(), refusal.status, dict(refusal.headers), "application/json")
        await response(scope, receive, sealed)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> ErrorAnswer | None:
        if b"origin" in headers and not _is_own(headers[b"origin"], headers.get(b"host", b"")):
            return _FOREIGN
        if any(name.lower() in _IN_URL for name, _ in parse_qsl(scope["query_string"].decode("latin-1"))):
            return _IN_THE_URL
        if scope["raw_path"] == OPEN_PATH and scope["method"] == "GET":
            return None
        return None if self._knows(headers.get(b"authorization")) else _NO_TOKEN

    def _knows(self, authorization: bytes | None) -> bool:
        scheme, _, given = (authorization or b"").partition(b" ")
        is_right = hmac.compare_digest(
            given.strip(), self._token
        )  # takes as long for a wrong token as for the right one
        return is_right and scheme.lower() == b"bearer"


def _is_own(origin: bytes, host: bytes) -> bool:
    """A page of this port itself. The host must be a name of this machine too: a name that somebody else made to
    point here (DNS rebinding) comes with an origin that is the same.
    """
    scheme, _, rest = origin.decode("latin-1").partition("://")
    where = host.decode("latin-1")
    try:
        name = urlsplit(f"//{where}").hostname
    except ValueError:
        return False
    return scheme in ("http", "https") and rest == where and name in LOOPBACK


_NO_TOKEN = ErrorAnswer(
    401,
    "the admin API needs its token: Authorization: Bearer <token>; it is admin.token of the configuration, or was "
    "printed when the gateway started",
    INVALID,
    "invalid_admin_token",
    headers={"www-authenticate": "Bearer"},
)
_IN_THE_URL = ErrorAnswer(
    400,
    "a token does not belong into a URL, which logs and histories keep; send it as Authorization: Bearer <token>",
    INVALID,
    "token_in_url",
)
_FOREIGN = ErrorAnswer(
    403, "this page is not the admin API's own: requests of another origin are refused", INVALID, "foreign_origin"
)
