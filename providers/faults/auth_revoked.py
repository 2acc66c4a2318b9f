"""F23: the upstream does not take the gateway's key any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from providers.base import Stream
from providers.faults.hit import Hit


@dataclass(slots=True, eq=False)
class AuthRevoked:
    """``status``: the key is not known (401), or may not do this (403)."""

    status: Literal[401, 403] = 401

    async def open(self, hit: Hit) -> Stream:
        raise hit.answered(self.status, {}, {"type": "invalid_request_error", "code": "invalid_api_key"})
