"""/v2/openapi-public.json: the document FastAPI builds, with what the raw endpoints can't say of themselves."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from coordinator.api.completions import OpenAICompletionRequest
from coordinator.api.embeddings import OpenAIEmbeddingRequest
from coordinator.api.key_bodies import KEY_REQUESTS
from coordinator.api.requests import OpenAIChatRequest
from coordinator.api.responses import AsyncTaskAccepted, Failed, StreamFailed

_REF: Final = "#/components/schemas/"
_REQUESTS: Final = (OpenAIChatRequest, OpenAICompletionRequest, OpenAIEmbeddingRequest)
_SECURITY: Final = {
    "ApiKeyHeader": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "BearerAuth": {"type": "http", "scheme": "bearer"},
}
# FastAPI's own two have grown fields since the contract was published, one of which would hold the input.
_VALIDATION: Final[dict[str, Any]] = {
    "HTTPValidationError": {
        "properties": {
            "detail": {"items": {"$ref": f"{_REF}ValidationError"}, "type": "array", "title": "Detail"},
        },
        "type": "object",
        "title": "HTTPValidationError",
    },
    "ValidationError": {
        "properties": {
            "loc": {
                "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                "type": "array",
                "title": "Location",
            },
            "msg": {"type": "string", "title": "Message"},
            "type": {"type": "string", "title": "Error Type"},
        },
        "type": "object",
        "required": ["loc", "msg", "type"],
        "title": "ValidationError",
    },
}


def _header(name: str, title: str) -> dict[str, Any]:
    schema = {"anyOf": [{"type": "string"}, {"type": "null"}], "title": title}
    return {"name": name, "in": "header", "required": False, "schema": schema}


# An addition to the published document.
_IDEMPOTENCY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A replay within 24 hours is answered by the task of the first request. Streams ignore it.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
_FAILURES: Final = (401, 402, 403, 404, 409, 410, 413, 500)
_STREAM_FAILURES: Final = (400, 429, 502, 503, 504)
_INVALID: Final = {
    "description": "422",
    "content": {"application/json": {"schema": {"$ref": f"{_REF}HTTPValidationError"}}},
}


# What `stream: true` gets, which the published document leaves out. No schema: it would be one of the whole stream.
_FRAMES: Final = {"text/event-stream": {"example": "data: {chunk}\n\ndata: {chunk}\n\ndata: [DONE]\n\n"}}


def request_extra(request: type[BaseModel]) -> dict[str, Any]:
    """What the decorator of an endpoint takes whose request is read as raw bytes."""
    schema = {"$ref": f"{_REF}{request.__name__}"}
    return {
        "parameters": [_header("x-api-key", "X-Api-Key"), _header("authorization", "Authorization"), _IDEMPOTENCY],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
    }


def body_extra(request: type[BaseModel]) -> dict[str, Any]:
    """The same for one that takes no model server's request."""
    schema = {"$ref": f"{_REF}{request.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_LIMITED: Final[dict[str, Any]] = {
    "description": "A limit of the caller's, or the upstream's. The x-ratelimit headers are on successful answers too",
    "headers": {
        "Retry-After": {"description": "Seconds, 60 at most", "schema": {"type": "integer"}},
        **{
            f"x-ratelimit-{name}-requests": {"description": what, "schema": {"type": "string"}}
            for name, what in {
                "limit": "Requests a minute: of the mode, or of all, whichever is tighter now",
                "remaining": "How many more may come now",
                "reset": "When the whole limit is there again, such as 7.5s or 120ms",
            }.items()
        },
    },
}


def responses_of(response: type[BaseModel], *, streams: bool) -> dict[int | str, dict[str, Any]]:
    """4xx and 5xx beside the published 200, 202 and 422."""
    return {
        200: {"model": response, "description": "200", **({"content": _FRAMES} if streams else {})},
        202: {"model": AsyncTaskAccepted, "description": "202"},
        422: _INVALID,
        **{status: {"model": Failed} for status in _FAILURES},
        **{
            status: {"model": Failed | StreamFailed if streams else Failed, **(_LIMITED if status == 429 else {})}
            for status in _STREAM_FAILURES
        },
    }


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document, with the schemas of chat completions as they were published."""
    built = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = built["components"]["schemas"]
    schemas |= _VALIDATION
    for request in _REQUESTS:
        schemas[request.__name__] = request.model_json_schema(ref_template=_REF + "{model}")
    for body in KEY_REQUESTS:
        schema = body.model_json_schema(ref_template=_REF + "{model}")
        schemas |= schema.pop("$defs", {}) | {body.__name__: schema}
    built["components"]["securitySchemes"] = _SECURITY
    built["security"] = [{name: []} for name in _SECURITY]
    return built
