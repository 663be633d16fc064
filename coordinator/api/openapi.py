"""/v2/openapi-public.json: the document FastAPI builds, with what the raw chat endpoint can't say of itself."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from coordinator.api.requests import OpenAIChatRequest
from coordinator.api.responses import AsyncTaskAccepted, Failed, OpenAIChatResponse, StreamFailed

_REF: Final = "#/components/schemas/"
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


# What the decorator of the endpoint takes; 4xx and 5xx beside the published 200, 202 and 422.
CHAT_EXTRA: Final[dict[str, Any]] = {
    "parameters": [_header("x-api-key", "X-Api-Key"), _header("authorization", "Authorization")],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": f"{_REF}OpenAIChatRequest"}}},
    },
}
_FAILURES: Final = (401, 403, 404, 413, 500)
_STREAM_FAILURES: Final = (400, 429, 502, 503, 504)
CHAT_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": OpenAIChatResponse, "description": "200"},
    202: {"model": AsyncTaskAccepted, "description": "202"},
    422: {"description": "422", "content": {"application/json": {"schema": {"$ref": f"{_REF}HTTPValidationError"}}}},
    **{status: {"model": Failed} for status in _FAILURES},
    **{status: {"model": Failed | StreamFailed} for status in _STREAM_FAILURES},
}


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document, with the schemas of chat completions as they were published."""
    built = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = built["components"]["schemas"]
    schemas |= _VALIDATION
    schemas["OpenAIChatRequest"] = OpenAIChatRequest.model_json_schema(ref_template=_REF + "{model}")
    built["components"]["securitySchemes"] = _SECURITY
    built["security"] = [{name: []} for name in _SECURITY]
    return built
