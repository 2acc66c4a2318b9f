"""POST /admin/explain: what would happen to a request now, or under another configuration; nobody is called."""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from app.admin.bodies import body_of, documented
from app.admin.clock import read
from app.admin.explaining import MAX_BODY_BYTES, Question, answer
from app.admin.given import Environment, Examiner
from app.api.errors import ApiError
from app.wiring import Gateway, build

MOST_PROBLEMS = 5


def routes(gateway: Gateway, examiner: Examiner) -> APIRouter:
    api = APIRouter(tags=["explain"])

    @api.post("/admin/explain", summary="What would happen to a request", openapi_extra=documented(Question))
    async def explain(question: Annotated[Question, Depends(body_of(Question, MAX_BODY_BYTES))]) -> dict[str, Any]:
        """The gate's view, the first choice with the share of each target, and the chain if every attempt failed.

        Under another configuration, targets that it shares with the one that runs keep their state. A request goes where
        it is said to go if it has the `X-Request-ID` that was asked about.
        """
        if question.config is None:
            return answer(gateway, question, read().now)
        environ = Environment(os.environ)
        found = await examiner(question.config, environ)
        if found.loaded is None:
            told = "; ".join(str(problem) for problem in found.errors[:MOST_PROBLEMS])
            message = f"this configuration cannot be used: {environ.masked(told)}"
            raise ApiError(400, message, code="invalid_config", param="config")
        other = build(found.loaded.settings, gateway.started, previous=gateway)
        try:
            told_json: dict[str, Any] = environ.masked(answer(other, question, read().now, live=gateway))
        finally:
            await other.aclose()
        return told_json

    return api
