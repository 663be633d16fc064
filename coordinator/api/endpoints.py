"""The endpoints of model servers that the relay serves: where each is, what it takes, what it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope

from coordinator.api.completions import OpenAICompletionRequest, OpenAICompletionResponse
from coordinator.api.embeddings import OpenAIEmbeddingRequest, OpenAIEmbeddingResponse
from coordinator.api.openapi import request_extra, responses_of
from coordinator.api.requests import OpenAIChatRequest, RelayRequest
from coordinator.api.responses import OpenAIChatResponse
from coordinator.protocol.envelope import Endpoint

BASE: Final = "/v2/openai/v1"
Handler = Callable[[Scope, Receive], Awaitable[Response]]
Answer = Callable[[type[RelayRequest], Scope, Receive], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Served:
    """One endpoint. `operation_id` is what official clients know it by."""

    request: type[RelayRequest]
    response: type[BaseModel]
    operation_id: str
    summary: str
    tag: str
    streams: bool = True

    @property
    def endpoint(self) -> Endpoint:
        return self.request.endpoint

    @property
    def path(self) -> str:
        return f"{BASE}/{self.endpoint}"


SERVED: Final = (
    Served(
        OpenAIChatRequest,
        OpenAIChatResponse,
        "openai_chat_completions_v2_openai_v1_chat_completions_post",
        "Chat completion: synchronous, streamed, or as a task to poll",
        "Chat",
    ),
    Served(
        OpenAICompletionRequest,
        OpenAICompletionResponse,
        "openai_completions_v2_openai_v1_completions_post",
        "Text completion: synchronous, streamed, or as a task to poll",
        "Completions",
    ),
    Served(
        OpenAIEmbeddingRequest,
        OpenAIEmbeddingResponse,
        "openai_embeddings_v2_openai_v1_embeddings_post",
        "Embeddings: synchronous, or as a task to poll",
        "Embeddings",
        streams=False,
    ),
)


def handlers(answer: Answer) -> dict[tuple[str, str], Handler]:
    """By method and path, for the front door."""
    return {("POST", served.path): partial(answer, served.request) for served in SERVED}


def routes(answer: Answer) -> APIRouter:
    """For the document, and for whatever does not come through the front door."""
    router = APIRouter()
    for served in SERVED:
        router.add_api_route(
            served.path,
            _route(partial(answer, served.request)),
            methods=["POST"],
            tags=[served.tag],
            operation_id=served.operation_id,
            responses=responses_of(served.response, streams=served.streams),
            openapi_extra=request_extra(served.request),
            summary=served.summary,
        )
    return router


def _route(handler: Handler) -> Callable[[Request], Any]:
    async def call(request: Request) -> Response:
        return await handler(request.scope, request.receive)

    return call
