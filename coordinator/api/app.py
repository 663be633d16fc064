"""Puts the HTTP side together: routes, failures, the document, and the front door before them all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from coordinator.api.billing import Till
from coordinator.api.chat import Calls, ChatLimits
from coordinator.api.credentials import Origins
from coordinator.api.endpoints import handlers, routes
from coordinator.api.failures import Failure, invalid_parameters
from coordinator.api.front_door import FrontDoor, Handler, internal_failure
from coordinator.api.hangup import ClientGone
from coordinator.api.health import health_routes
from coordinator.api.idempotency import Once
from coordinator.api.keeping import Keeper
from coordinator.api.keys import key_routes
from coordinator.api.limits import Gate
from coordinator.api.listing import DOCUMENT_PATH
from coordinator.api.models import model_routes
from coordinator.api.openapi import document
from coordinator.api.ports import Claims, KeyBook, KeyRing, Purse, Relay, Upstreams
from coordinator.api.tasks import task_routes
from coordinator.api.usage import usage_routes
from coordinator.api.webhooks import Hooks, Webhooks, webhook_routes
from coordinator.catalogue import Catalogue
from coordinator.errors import RelayError

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]
# The version of the API, which is not the software's.
API_VERSION: Final = "2.0.0"
_DESCRIPTION: Final = "An OpenAI-compatible relay over a network of independent GPU nodes. SDK base URL: /v2/openai/v1"


def create_app(
    relay: Relay,
    keys: KeyBook,
    claims: Claims,
    catalogue: Catalogue,
    upstreams: Upstreams,
    *,
    version: str,
    commit: str,
    limits: ChatLimits | None = None,
    origins: Origins | None = None,
    ring: KeyRing | None = None,
    webhooks: Webhooks | None = None,
    purse: Purse | None = None,
    lifespan: Lifespan | None = None,
    hot: Mapping[tuple[str, str], Handler] | None = None,
) -> FrontDoor:
    """The ASGI application. `hot`: more handlers that skip the framework, beside the calls to model servers.

    `ring`: behind the routes of keys, `webhooks`: of webhooks, `purse`: of usage and credits; without, they
    are not there, and without a purse nothing is counted or charged.

    At shutdown, direct calls still to be stored are, before `lifespan` closes anything."""
    keeper, till, gate = Keeper(relay), Till(purse, catalogue), Gate(keys, origins or Origins())
    hooks = Hooks(webhooks.targets) if webhooks else Hooks()
    once, limits = Once(claims), limits or ChatLimits()
    calls = Calls(relay, gate, catalogue, upstreams, keeper, once, till, limits, hooks)
    app = FastAPI(
        title="Relay API",
        version=API_VERSION,
        description=_DESCRIPTION,
        openapi_url=DOCUMENT_PATH,
        redoc_url=None,
        redirect_slashes=False,  # it would send a client wherever its Host header says
        lifespan=_draining(lifespan, keeper, till),
    )
    health = health_routes(relay, version, commit)
    for router in (routes(calls.answer), task_routes(relay, gate), model_routes(catalogue, relay), health):
        app.include_router(router)
    if ring is not None:
        app.include_router(key_routes(ring, gate, catalogue.tiers))
    if webhooks is not None:
        app.include_router(webhook_routes(webhooks.deliveries, gate))
    if purse is not None:
        app.include_router(usage_routes(purse, gate, billing=catalogue.billing.enabled))
    _answer_failures(app)
    _serve_document(app)
    return FrontDoor(app, {**handlers(calls.answer), **(hot or {})})


def _draining(lifespan: Lifespan | None, *behind: Keeper | Till) -> Lifespan:
    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[Any]:
        async with lifespan(app) if lifespan else nullcontext() as state:
            try:
                yield state
            finally:
                for writer in behind:
                    await writer.drain()

    return life


def _answer_failures(app: FastAPI) -> None:
    @app.exception_handler(RelayError)
    async def relay_error(request: Request, error: RelayError) -> Response:
        return Failure.of(error).response(request.scope["request_id"])

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return Failure.of(invalid_parameters(error)).response(request.scope["request_id"])

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        return Failure.of_framework(error).response(request.scope["request_id"], headers=headers)

    @app.exception_handler(Exception)  # the framework raises it again once it is answered: the front door logs it
    async def broken(request: Request, error: Exception) -> Response:
        return internal_failure(request.scope["request_id"])

    @app.exception_handler(ClientGone)
    async def gone(request: Request, error: ClientGone) -> Response:
        return Response(status_code=499)  # nobody reads it


def _serve_document(app: FastAPI) -> None:
    def openapi() -> dict[str, Any]:
        app.openapi_schema = app.openapi_schema or document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
