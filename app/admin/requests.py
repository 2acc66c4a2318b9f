"""GET /admin/requests: why each of the latest requests went where it went."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import JSONResponse, PlainTextResponse, Response

from app.admin.told import told
from app.api.errors import ApiError
from app.observability.decisions import Decisions, Record, described, summary

# How many records are looked at before others have their turn: traffic is in the same loop.
AT_ONCE = 1000
Outcome = Literal["ok", "error", "truncated", "cancelled"]


class Summaries(BaseModel):
    """The latest first. `kept` of at most `most` are in memory."""

    requests: list[dict[str, Any]]
    kept: int
    most: int


_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}, "text/plain": {}}}}


def routes(decisions: Decisions, fresh: Callable[[], None]) -> APIRouter:
    """``fresh`` is called before the records are read."""
    api = APIRouter(tags=["requests"])

    @api.get("/admin/requests", summary="The latest requests")
    async def latest(
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        model: str | None = None,
        target: str | None = None,
        outcome: Outcome | None = None,
    ) -> Summaries:
        """`model` is the name that was asked for, `target` the provider/model that answered."""

        def wanted(record: Record) -> bool:
            return (
                model in (None, record.model) and target in (None, record.target) and outcome in (None, record.outcome)
            )

        fresh()
        found: list[Record] = []
        records = iter(list(decisions))
        while len(found) < limit and (some := list(islice(records, AT_ONCE))):
            found += filter(wanted, some)
            await asyncio.sleep(0)
        return Summaries(
            requests=[summary(record) for record in found[:limit]], kept=len(decisions), most=decisions.most
        )

    @api.get("/admin/requests/{request_id}", summary="One request", response_class=Response, responses=_TEXT)
    async def one(request_id: str, format: Literal["json", "text"] = "json") -> Response:  # noqa: A002 - its name outside
        """Every attempt with the targets that were looked at and why each was picked or not; `format=text` tells it."""
        fresh()
        record = decisions.find(request_id)
        if record is None:
            message = (
                f"there is no record of {request_id[:128]!r}; the latest {decisions.most} requests are kept "
                "(telemetry.decisions), and only those that a route was found for"
            )
            raise ApiError(404, message, code="unknown_request")
        record_json = described(record)
        return PlainTextResponse(told(record_json)) if format == "text" else JSONResponse(record_json)

    return api
