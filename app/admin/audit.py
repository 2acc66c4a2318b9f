"""What has been changed by hand: by whom, when and why. One log line each, and the last of them in memory."""

from __future__ import annotations

from collections import deque
from typing import Any

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel

from app.admin.clock import read
from app.observability.decisions import iso

log: structlog.stdlib.BoundLogger = structlog.get_logger("breakwater")

MOST_ENTRIES = 1000


class Entry(BaseModel):
    """`ttl` in seconds; `outcome` is the state after it. There is one admin token, so `who` is always admin; `client` is
    the address that it came from.
    """

    time: str
    who: str = "admin"
    client: str
    action: str
    target: str
    reason: str | None = None
    ttl: float | None = None
    outcome: str


class Trail(BaseModel):
    entries: list[Entry]


class Audit:
    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MOST_ENTRIES)

    def note(self, request: Request, action: str, target: str, outcome: str, **more: Any) -> None:
        """``more``: the reason and the ttl, where there are."""
        client = request.client.host if request.client is not None else ""
        entry = Entry(time=iso(read().wall), client=client, action=action, target=target, outcome=outcome, **more)
        self._entries.append(entry)
        log.warning("admin action", **entry.model_dump(exclude={"time"}, exclude_none=True))

    def latest(self) -> list[Entry]:
        """The latest first."""
        return list(reversed(self._entries))


def routes(audit: Audit) -> APIRouter:
    api = APIRouter(tags=["audit"])

    @api.get("/admin/audit", summary="What has been changed by hand, the latest first")
    async def trail() -> Trail:
        return Trail(entries=audit.latest())

    return api
