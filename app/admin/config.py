"""GET /admin/config: what this process runs with, and no secret in it. POST /admin/config/check: would this one do?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field, SecretStr

from app.admin.bodies import Body, body_of, documented
from app.admin.given import MAX_BYTES, Environment, Examiner
from app.observability.exposition import CONFIG_GENERATION
from app.settings import ProviderSettings, Settings
from app.settings.options import secret_names
from app.wiring import Gateway
from providers.law import Law

HIDDEN = "***"


class Effective(BaseModel):
    """`hash` is of what is shown: the same settings have the same, whatever their secrets."""

    generation: int
    hash: str
    settings: dict[str, Any]


class Proposed(Body):
    config: Annotated[str, Field(max_length=MAX_BYTES)]


class Verdict(BaseModel):
    """As `breakwater check --json` has it."""

    usable: bool
    problems: list[dict[str, Any]]


def routes(gateway: Gateway, examiner: Examiner) -> APIRouter:
    api = APIRouter(tags=["config"])
    shown = redacted(gateway.settings)
    digest = hashlib.sha256(orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]

    @api.get("/admin/config", summary="The settings in force")
    async def effective() -> Effective:
        return Effective(generation=CONFIG_GENERATION, hash=digest, settings=shown)

    @api.post("/admin/config/check", summary="Check a configuration", openapi_extra=documented(Proposed))
    async def check(body: Annotated[Proposed, Depends(body_of(Proposed, 2 * MAX_BYTES))]) -> Verdict:
        """Read with the environment of this process; nothing is changed."""
        environ = Environment(os.environ)
        found = await examiner(body.config, environ)
        problems = [("error", problem) for problem in found.errors] + [
            ("warning", problem) for problem in found.warnings
        ]
        return Verdict(
            usable=found.loaded is not None,
            problems=environ.masked([problem.as_json(severity) for severity, problem in problems]),
        )

    return api


def redacted(settings: Settings) -> dict[str, Any]:
    shown: dict[str, Any] = _shown(settings)
    return shown


def _shown(value: Any) -> Any:
    """Plain values; a secret is ``***`` if there is one."""
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, Law):
        return law_written(value)
    if isinstance(value, ProviderSettings):  # as in the file: the kind's own settings beside the name
        return {"name": value.name, "kind": value.kind, **_shown(value.options)}
    if isinstance(value, BaseModel):
        return {name: _shown(getattr(value, name)) for name in type(value).model_fields}
    if is_dataclass(value) and not isinstance(value, type):
        secret = secret_names(value)
        return {
            field.name: _hidden(getattr(value, field.name))
            if field.name in secret
            else _shown(getattr(value, field.name))
            for field in fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): _shown(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def law_written(law: Law) -> Any:
    """As it would be written."""
    if law.shape == "constant":
        return law.a
    return {law.shape: law.a if law.shape == "exponential" else [law.a, law.b]}


def _hidden(value: Any) -> Any:
    """Whether there is one, and the names of headers, may be seen."""
    if isinstance(value, Mapping):
        return {str(key): HIDDEN for key in value}
    return value if value is None or value in ("", [], ()) else HIDDEN
