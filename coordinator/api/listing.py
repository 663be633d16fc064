"""The catalogue as the lists of models and prices show it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any, Final

import orjson

from coordinator.api.endpoints import SERVED, Served
from coordinator.catalogue import Catalogue, Model
from coordinator.lifecycle.order import Mode
from coordinator.protocol.envelope import Endpoint

DOCUMENT_PATH: Final = "/v2/openapi-public.json"
_MODES: Final[tuple[Mode, ...]] = ("direct", "opengpu")


def model_list(catalogue: Catalogue) -> dict[str, Any]:
    """`{mode: {source: [row]}}`; a mode without models is absent, `auto` is the union."""
    listed: dict[str, Any] = {"auto": _by_source(list(catalogue.models.values()))}
    listed |= {mode: _by_source(offered) for mode in _MODES if (offered := catalogue.offers(mode))}
    return listed | {
        "model_restrictions_per_tier": {tier: limits.model_restrictions for tier, limits in catalogue.tiers.items()}
    }


def _by_source(models: list[Model]) -> dict[str, list[dict[str, Any]]]:
    return {source: [_row(m) for m in models if m.source == source] for source in {m.source: None for m in models}}


def _row(model: Model) -> dict[str, Any]:
    named = {"display_name": model.display_name} if model.display_name else {}
    row = {"name": model.name, "tag": _tag(model), "store_output_supported": False, "endpoint": _endpoint(model)}
    return row | named | {"endpoints": [served.path for served in _served(model)]}


def _tag(model: Model) -> str:
    return "text-to-embedding" if _served(model)[0].endpoint == "embeddings" else "text-to-text"


def _served(model: Model) -> list[Served]:
    """The endpoints that the model is offered at, the one that is shown as its own first."""
    return [served for served in SERVED if model.serves(served.endpoint)]


def _endpoint(model: Model) -> dict[str, Any]:
    served = _served(model)[0]
    return {
        "method": "POST",
        "path": served.path,
        "operation_id": served.operation_id,
        "model_in_body": True,
        "model_default": None,
        "async_default": False,
        "streams": served.streams and "direct" in model.modes,
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


def model_detail(model: Model, live: set[str], restricted: list[str]) -> dict[str, Any]:
    """What official clients look up before they send.

    `live`: the models that some node serves now. `restricted`: the tiers that can't use it.
    """
    served = _served(model)[0]
    return {
        "name": model.name,
        "display_name": model.display_name,
        "context_length": model.context_length,
        "modes": model.modes,
        "sources": [model.source],
        "endpoint": _endpoint(model),
        "endpoints": [each.path for each in _served(model)],
        "request_schema": served.request.model_json_schema(),
        "request_schema_url": f"{DOCUMENT_PATH}#/components/schemas/{served.request.__name__}",
        "request_example": _example(model),
        "response_schema": served.response.model_json_schema(),
        "response_schema_url": f"{DOCUMENT_PATH}#/components/schemas/{served.response.__name__}",
        "store_output_supported": False,
        "restricted_tiers": restricted,
        "pricing": _prices(model),
        "available": "direct" in model.modes or model.name in live,
        "status": "available",
    }


def _example(model: Model) -> Mapping[str, Any]:
    examples: dict[Endpoint, dict[str, Any]] = {
        "chat/completions": {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 64},
        "completions": {"prompt": "Once upon a time", "max_tokens": 64},
        "embeddings": {"input": "Hello!"},
    }
    return {"model": model.name, **examples[_served(model)[0].endpoint]}


def openai_model(model: Model) -> dict[str, Any]:
    created = int(datetime.combine(model.since, time(), UTC).timestamp())
    owner, _, rest = model.name.partition("/")
    return {"id": model.name, "object": "model", "created": created, "owned_by": owner if rest else "relay"}
