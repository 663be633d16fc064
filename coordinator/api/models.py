"""The lists of models and prices. No credentials needed."""

from __future__ import annotations

from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from coordinator.api.answers import json_response
from coordinator.api.listing import model_detail, model_list, openai_model, price_list
from coordinator.api.ports import Relay
from coordinator.api.responses import Failed, ModelDetail, ModelList, OpenAIModel, OpenAIModelList, PriceList
from coordinator.catalogue import Catalogue, Model
from coordinator.errors import ModelNotFound

_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {404: {"model": Failed, "description": "No such model"}}


def model_routes(catalogue: Catalogue, relay: Relay) -> APIRouter:
    """The lists are the catalogue's and stand still; only a single model's `available` is looked up."""
    router = APIRouter(tags=["Models"])
    models, prices = orjson.dumps(model_list(catalogue)), orjson.dumps(price_list(catalogue))
    for_openai = {"object": "list", "data": [openai_model(model) for model in catalogue.models.values()]}
    openai_list = orjson.dumps(for_openai)

    @router.get("/v2/models", responses={200: {"model": ModelList}}, summary="Models by mode and source")
    async def list_models() -> Response:
        return json_response(models)

    @router.get("/v2/models/{model:path}", responses={200: {"model": ModelDetail}, **_UNKNOWN}, summary="One model")
    async def read_model(model: str) -> Response:
        found = _find(catalogue, model)
        live = await relay.opengpu_models() if "direct" not in found.modes else set()
        return json_response(orjson.dumps(model_detail(found, live, catalogue.closed_to(found))))

    @router.get("/v2/openai/v1/models", responses={200: {"model": OpenAIModelList}}, summary="Models, as OpenAI does")
    async def list_openai_models() -> Response:
        return json_response(openai_list)

    @router.get(
        "/v2/openai/v1/models/{model:path}",
        responses={200: {"model": OpenAIModel}, **_UNKNOWN},
        summary="One model, as OpenAI does",
    )
    async def read_openai_model(model: str) -> Response:
        return json_response(orjson.dumps(openai_model(_find(catalogue, model))))

    @router.get("/v2/pricing", responses={200: {"model": PriceList}}, summary="Prices")
    async def list_prices() -> Response:
        return json_response(prices)

    return router


def _find(catalogue: Catalogue, name: str) -> Model:
    model = catalogue.models.get(name)
    if model is None:
        raise ModelNotFound("model: this relay has no such model. GET /v2/models lists those it has.")
    return model
