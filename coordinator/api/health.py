"""GET /v2/health, and a page at the root for whoever opens the address in a browser."""

from __future__ import annotations

from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from coordinator.api.answers import json_response
from coordinator.api.ports import Relay
from coordinator.api.responses import Health

_BOTH: Final[dict[int | str, dict[str, Any]]] = {200: {"model": Health}, 503: {"model": Health}}


def health_routes(relay: Relay, version: str, commit: str) -> APIRouter:
    router = APIRouter(tags=["Health"])
    welcome = orjson.dumps(
        {
            "name": "opengpu-relay",
            "version": version,
            "openai_base_url": "/v2/openai/v1",
            "docs": "/docs",
            "openapi": "/v2/openapi-public.json",
            "models": "/v2/models",
            "health": "/v2/health",
        },
        option=orjson.OPT_INDENT_2,
    )

    @router.get("/v2/health", responses=_BOTH, summary="Whether new work is accepted")
    async def health() -> Response:
        ready = await relay.ready()
        body = {"status": "ok" if ready else "degraded", "version": version, "commit": commit}
        return json_response(orjson.dumps(body), status=200 if ready else 503)

    @router.get("/", include_in_schema=False)
    async def root() -> Response:
        return json_response(welcome)

    return router
