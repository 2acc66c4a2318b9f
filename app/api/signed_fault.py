"""X-Fault: a request that brings its own fault, for that request alone, signed by who has the admin token.

    X-Fault: <what, base64url JSON>.<HMAC-SHA256 of it, base64url>      what: a fault's keys, and `exp`, seconds since 1970

Off unless `chaos.header_faults` is on. What cannot be done is a 400: a drill that silently injects nothing would prove
nothing. The header never travels upstream.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import orjson

from app.api.errors import ApiError
from app.settings.faults import asked_of, rule_of
from app.wiring import Gateway
from router.chaos import Acting, FaultRefused

HEADER = b"x-fault"
MAX_BYTES = 4096
REQUEST_OVER = "request_over"
# Of a request's id in its fault's, which has 64 characters with the kind.
MOST_OF_ID = 40


def signed(fault: Mapping[str, Any], expires: int, admin_token: str) -> str:
    """The header's value."""
    payload = urlsafe_b64encode(orjson.dumps({**fault, "exp": expires})).rstrip(b"=")
    return (payload + b"." + _signature(payload, admin_token)).decode()


def fault_in(header: bytes, admin_token: str, wall: float) -> dict[str, Any]:
    """What the header asks for. Raises ``FaultRefused``."""
    payload, dot, signature = header.strip().partition(b".")
    if len(header) > MAX_BYTES or not dot or not hmac.compare_digest(signature, _signature(payload, admin_token)):
        raise FaultRefused("is not signed with this gateway's admin token; `breakwater fault sign` makes one", "")
    try:
        fault = orjson.loads(urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
        expires = float(fault.pop("exp"))
    except (ValueError, KeyError, AttributeError, TypeError, binascii.Error):
        raise FaultRefused("is signed, but holds no fault", "") from None
    if expires <= wall:
        raise FaultRefused(f"expired {wall - expires:.0f} s ago; sign a new one", "exp")
    return dict(fault)


class HeaderFaults:
    """``admin_token`` None: there is nobody who could sign."""

    def __init__(self, gateway: Gateway, admin_token: str | None) -> None:
        self._gateway = gateway
        self._token = admin_token

    def begin(self, header: bytes, request_id: str, wall: float) -> Acting:
        """It acts on this request from now on, until ``end``. Raises ``ApiError`` 400."""
        try:
            return self._begin(header, request_id, wall)
        except FaultRefused as refused:
            said = f"X-Fault: {refused.param}: {refused.message}" if refused.param else f"X-Fault {refused.message}"
            raise ApiError(400, said, code="invalid_header", param=refused.param or None) from None

    def end(self, acting: Acting) -> None:
        """Its id may be another's by now."""
        chaos, fault = self._gateway.chaos, acting.rule.id
        if chaos.acting.get(fault) is acting:
            chaos.stop(fault, REQUEST_OVER)

    def _begin(self, header: bytes, request_id: str, wall: float) -> Acting:
        gateway = self._gateway
        if not gateway.settings.chaos.header_faults:
            raise FaultRefused("cannot be used: faults by header are off in this gateway (`chaos.header_faults`)", "")
        if self._token is None:
            why = "there is no admin API here, whose token signs it (`server.admin_port`; none with `--workers`)"
            raise FaultRefused(f"cannot be used: {why}", "")
        asked = asked_of({"ttl": gateway.chaos.config.max_ttl, **fault_in(header, self._token, wall)})
        fault = asked.id or f"{asked.kind}-{_short(request_id)}"
        rule = rule_of(asked, fault, gateway.lives, gateway.routes.named)
        return gateway.chaos.add(replace(rule, request_id=request_id))


def _short(request_id: str) -> str:
    """Itself, where a fault's id has room for it; in any case two that differ still do."""
    return request_id if len(request_id) <= MOST_OF_ID else sha256(request_id.encode()).hexdigest()[:MOST_OF_ID]


def _signature(payload: bytes, admin_token: str) -> bytes:
    key = hmac.digest(admin_token.encode(), b"breakwater fault header", sha256)
    return urlsafe_b64encode(hmac.digest(key, payload, sha256)).rstrip(b"=")
