"""The OpenAPI document of the hot endpoints, which FastAPI does not serve and so cannot describe by itself."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

Json = dict[str, Any]

_MODEL: Json = {"type": "string", "minLength": 1, "maxLength": 256, "examples": ["demo"]}
_STREAM: Json = {"type": "boolean", "default": False, "description": "Answer with server-sent events."}
_MESSAGES: Json = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {"role": {"type": "string"}, "content": {}},
        "required": ["role"],
        "additionalProperties": True,
    },
    "examples": [[{"role": "user", "content": "Say hello."}]],
}
_TEXT: Json = {"anyOf": [{"type": "string"}, {"type": "array", "items": {}}], "examples": ["Say hello."]}
_COUNT: Json = {"type": "integer", "minimum": 1}
_PROMPTED: Json = {
    "prompt": {"type": "string", "minLength": 1, "examples": ["Say hello."]},
    "model": _MODEL,
    "max_tokens": _COUNT,
    "temperature": {"type": "number"},
}

_REQUESTS: dict[str, tuple[str, Json, list[str]]] = {
    "chat/completions": (
        "Chat completion",
        {"model": _MODEL, "messages": _MESSAGES, "stream": _STREAM, "max_completion_tokens": _COUNT},
        ["model", "messages"],
    ),
    "completions": (
        "Text completion",
        {"model": _MODEL, "prompt": _TEXT, "stream": _STREAM, "max_tokens": _COUNT},
        ["model", "prompt"],
    ),
    "embeddings": ("Embeddings", {"model": _MODEL, "input": _TEXT, "dimensions": _COUNT}, ["model", "input"]),
    "responses": (
        "Response",
        {"model": _MODEL, "input": _TEXT, "stream": _STREAM, "max_output_tokens": _COUNT},
        ["model"],
    ),
    "inference/complete": ("A prompt, completed", _PROMPTED, ["prompt", "model"]),
    "inference/stream": ("A prompt, completed as server-sent events", _PROMPTED, ["prompt", "model"]),
}
_REQUEST_HEADERS = {
    "X-Provider-Priority": "Try exactly these providers, in this order: `a, b`. A final `*` allows the rest.",
    "X-Request-ID": "1 to 128 of `[A-Za-z0-9._:-]`; anything else is replaced.",
    "X-Deadline-Ms": "The time that the whole call may take, in milliseconds.",
    "X-Priority": "Who is turned away last when there is too much: critical, default (if left out), sheddable, batch.",
    "X-Session-ID": "What belongs together: keeps a session at its target (affinity) and in its arm (experiments).",
    "X-Fault": "A fault for this request alone, signed by `breakwater fault sign`; off unless `chaos.header_faults` is on.",
    "X-Experiment": "`name=arm`: this arm of an experiment, whatever its shares say.",
}
_RESPONSE_HEADERS = {
    "x-request-id": "The request's id.",
    "x-provider": "The provider that answered.",
    "x-target": "provider/model that answered.",
    "x-attempts": "Every attempt and how it ended, in order: `a/m:503,b/m:200`.",
    "x-route-reason": "Why this target: weight, pin, sticky, failover or hedge.",
    "x-experiment": "name=arm, where the model has an experiment.",
    "x-fault": "The ids of the faults that were injected on purpose into its attempts, if any.",
    "x-cache": "off",
    "x-overhead-ms": "The gateway's own time.",
    "server-timing": "The gateway's and the upstream's time.",
}
ERRORS = {
    "400": "The request is wrong; `param` names the field.",
    "404": "No route serves this model.",
    "405": "This endpoint takes POST.",
    "408": "The request body did not arrive in time.",
    "413": "The request body is too large.",
    "429": "Every attempt met a rate limit, or every target asks to wait.",
    "502": "Every attempt failed.",
    "503": "No target is able, there is too much to do, or the gateway is draining.",
    "504": "Out of time.",
}
_ERROR_SCHEMA: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def describe(app: FastAPI) -> None:
    """Make ``app.openapi()`` complete: FastAPI's own paths and the hot ones. Built once, at the first request."""

    def complete() -> Json:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes, tags=_TAGS
            )
            document["paths"] = {f"/v1/{path}": _operation(path) for path in _REQUESTS} | document["paths"]
            # FastAPI's own 422 never leaves here: every error has the one shape.
            one_model: Json = document["paths"]["/v1/models/{model}"]["get"]["responses"]
            one_model.pop("422", None)
            one_model["404"] = _error("404")
            document["components"]["schemas"] = {
                name: schema
                for name, schema in document["components"]["schemas"].items()
                if not name.endswith("ValidationError")
            } | {"Error": _ERROR_SCHEMA}
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]  # the way that FastAPI documents


_TAGS = [
    {"name": "inference", "description": "OpenAI-compatible; unknown members pass through in both directions."},
    {"name": "models", "description": "The public model names."},
    {"name": "health", "description": "Liveness and readiness."},
    {"name": "metrics", "description": "Numbers for Prometheus and for people."},
]


def _operation(path: str) -> Json:
    summary, properties, required = _REQUESTS[path]
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": True}
    content: Json = {"application/json": {"schema": {"type": "object"}}}
    if "stream" in properties:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    headers = {name: _header(text) for name, text in _RESPONSE_HEADERS.items()}
    responses: Json = {"200": {"description": "The upstream's answer, as it came.", "headers": headers}}
    responses["200"]["content"] = content
    responses |= {status: _error(status) for status in ERRORS}
    return {
        "post": {
            "tags": ["inference"],
            "summary": summary,
            "operationId": path.replace("/", "_"),
            "parameters": [
                {"in": "header", "name": name, "required": False, **_header(text)}
                for name, text in _REQUEST_HEADERS.items()
            ],
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "responses": responses,
        }
    }


def _error(status: str) -> Json:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": ERRORS[status], "content": content}


def _header(text: str) -> Json:
    return {"description": text, "schema": {"type": "string"}}
