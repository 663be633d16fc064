"""The catalogue as the lists of models and prices show it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any, Final

import orjson

from coordinator.api.requests import OpenAIChatRequest
from coordinator.api.responses import OpenAIChatResponse
from coordinator.catalogue import Catalogue, Model
from coordinator.lifecycle.order import Mode

CHAT_PATH: Final = "/v2/openai/v1/chat/completions"
CHAT_OPERATION: Final = "openai_chat_completions_v2_openai_v1_chat_completions_post"
DOCUMENT_PATH: Final = "/v2/openapi-public.json"
TIERS: Final = ("guest", "basic", "pro", "max")
_MODES: Final[tuple[Mode, ...]] = ("direct", "opengpu")


def model_list(catalogue: Catalogue) -> dict[str, Any]:
    """`{mode: {source: [row]}}`; a mode without models is absent, `auto` is the union."""
    listed: dict[str, Any] = {"auto": _by_source(list(catalogue.models.values()))}
    listed |= {mode: _by_source(offered) for mode in _MODES if (offered := catalogue.offers(mode))}
    return listed | {"model_restrictions_per_tier": {tier: [] for tier in TIERS}}


def _by_source(models: list[Model]) -> dict[str, list[dict[str, Any]]]:
    return {source: [_row(m) for m in models if m.source == source] for source in {m.source: None for m in models}}


def _row(model: Model) -> dict[str, Any]:
    named = {"display_name": model.display_name} if model.display_name else {}
    row = {"name": model.name, "tag": "text-to-text", "store_output_supported": False, "endpoint": _endpoint(model)}
    return row | named


def _endpoint(model: Model) -> dict[str, Any]:
    return {
        "method": "POST",
        "path": CHAT_PATH,
        "operation_id": CHAT_OPERATION,
        "model_in_body": True,
        "model_default": None,
        "async_default": False,
        "streams": "direct" in model.modes,
    }


def price_list(catalogue: Catalogue) -> dict[str, Any]:
    rows = [row for model in catalogue.models.values() for row in _prices(model)]
    return {"pricing": rows, "total_count": len(rows)}


def _prices(model: Model) -> list[dict[str, Any]]:
    return [
        {
            "mode": mode,
            "model": f"{model.source}.{model.name}",
            "billing_type": "per_token",
            "per_1m_input_tokens": _exact(model.prices[mode].per_1m_input_tokens),
            "per_1m_output_tokens": _exact(model.prices[mode].per_1m_output_tokens),
        }
        for mode in model.modes
    ]


def _exact(amount: Decimal) -> orjson.Fragment:
    """A JSON number with the very digits of the file."""
    return orjson.Fragment(f"{amount:f}")


def model_detail(model: Model, live: set[str]) -> dict[str, Any]:
    """What official clients look up before they send. `live`: the models that some node serves now."""
    return {
        "name": model.name,
        "display_name": model.display_name,
        "context_length": model.context_length,
        "modes": model.modes,
        "sources": [model.source],
        "endpoint": _endpoint(model),
        "request_schema": _REQUEST_SCHEMA,
        "request_schema_url": f"{DOCUMENT_PATH}#/components/schemas/OpenAIChatRequest",
        "request_example": _example(model),
        "response_schema": _RESPONSE_SCHEMA,
        "response_schema_url": f"{DOCUMENT_PATH}#/components/schemas/OpenAIChatResponse",
        "store_output_supported": False,
        "restricted_tiers": [],
        "pricing": _prices(model),
        "available": "direct" in model.modes or model.name in live,
        "status": "available",
    }


def _example(model: Model) -> Mapping[str, Any]:
    return {"model": model.name, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 64}


def openai_model(model: Model) -> dict[str, Any]:
    created = int(datetime.combine(model.since, time(), UTC).timestamp())
    owner, _, rest = model.name.partition("/")
    return {"id": model.name, "object": "model", "created": created, "owned_by": owner if rest else "relay"}


def _schema(kind: type[OpenAIChatRequest] | type[OpenAIChatResponse]) -> dict[str, Any]:
    return kind.model_json_schema()


_REQUEST_SCHEMA: Final = _schema(OpenAIChatRequest)
_RESPONSE_SCHEMA: Final = _schema(OpenAIChatResponse)
