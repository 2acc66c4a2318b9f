"""GET /v1/models: the public model names of the routes."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from app.wiring import Gateway
from router.errors import ModelNotFound


class Model(BaseModel):
    """A public model name, which a route maps to targets."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "breakwater"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


def routes(gateway: Gateway) -> APIRouter:
    api = APIRouter(tags=["models"])

    @api.get("/v1/models", summary="The models that can be asked for")
    async def list_models() -> ModelList:
        """A route for any model (`*`) adds no name here: its names are the targets' own."""
        return ModelList(data=[Model(id=name, created=gateway.started) for name in gateway.routes.named])

    @api.get("/v1/models/{model:path}", summary="One model")
    async def get_model(model: str) -> Model:
        if model not in gateway.routes.named and gateway.routes.anything is None:
            raise ModelNotFound(model, sorted(gateway.routes.named))
        return Model(id=model, created=gateway.started)

    return api
