"""The served document against the published one: chat completions is equal to it field by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.conftest import CHAT, World

PUBLISHED = json.loads((Path(__file__).parents[2] / "golden" / "chat-completions.openapi.json").read_text())
# What the README of the API adds to the published request: every one of them, with its bounds.
NEWER: dict[str, dict[str, Any]] = {
    "top_k": {"minimum": 0},
    "min_p": {"minimum": 0, "maximum": 1},
    "repetition_penalty": {"minimum": 0},
    "logit_bias": {"additionalProperties": True},
    "reasoning_effort": {"enum": ["none", "low", "medium", "high", "xhigh", "max"]},
    "reasoning": {"additionalProperties": True},
    "include_reasoning": {},
    "structured_outputs": {},
    "webhook_url": {"pattern": "^https://", "maxLength": 2048},
}
# What OpenAI's clients send today (coordinator/api/fields.py): every one of them, with its bounds.
OF_OPENAI: dict[str, dict[str, Any]] = {
    "parallel_tool_calls": {},
    "metadata": {
        "additionalProperties": {"maxLength": 512, "type": "string"},
        "maxProperties": 16,
        "propertyNames": {"maxLength": 64},
    },
    "service_tier": {"enum": ["auto", "default", "flex", "scale", "priority", "fast"]},
    "prediction": {"additionalProperties": True},
    "modalities": {"items": {"const": "text", "type": "string"}},
    "verbosity": {"enum": ["low", "medium", "high"]},
    "safety_identifier": {"maxLength": 128},
    "prompt_cache_key": {},
    "prompt_cache_retention": {"enum": ["in_memory", "24h"]},
    "prompt_cache_options": {"additionalProperties": True},
}
ADDED = NEWER | OF_OPENAI


@pytest.fixture
async def served(world: World) -> dict[str, Any]:
    document: dict[str, Any] = (await world.client.get("/v2/openapi-public.json")).json()
    return document


@pytest.mark.parametrize("name", sorted(PUBLISHED["components"]["schemas"]))
def test_schemas(served: dict[str, Any], name: str) -> None:
    schema = served["components"]["schemas"][name]
    if name == "OpenAIChatRequest":
        properties = {field: facts for field, facts in schema["properties"].items() if field not in ADDED}
        assert set(schema["properties"]) - set(properties) == set(ADDED)
        schema = schema | {"properties": properties}
    assert schema == PUBLISHED["components"]["schemas"][name]


def test_the_newer_fields(served: dict[str, Any]) -> None:
    fields = served["components"]["schemas"]["OpenAIChatRequest"]["properties"]
    bounds = {name: {k: v for k, v in fields[name]["anyOf"][0].items() if k != "type"} for name in ADDED}
    assert bounds == ADDED
    assert all({"type": "null"} in fields[name]["anyOf"] for name in ADDED)


def test_the_operation(served: dict[str, Any]) -> None:
    mine, published = served["paths"][CHAT]["post"], PUBLISHED["paths"][CHAT]["post"]
    for fact in ("operationId", "requestBody"):
        assert mine[fact] == published[fact]
    assert [item for item in mine["parameters"] if item["name"] != "Idempotency-Key"] == published["parameters"]
    for status, response in published["responses"].items():
        served_types = mine["responses"][status]["content"]
        added = {"text/event-stream"} if status == "200" else set()  # what `stream: true` gets
        assert set(served_types) - set(response["content"]) == added
        mine["responses"][status]["content"] = {kind: served_types[kind] for kind in response["content"]}
        assert mine["responses"][status] == response


def test_the_document_as_a_whole(served: dict[str, Any]) -> None:
    assert served["info"]["title"] == PUBLISHED["info"]["title"]
    assert served["info"]["version"] == PUBLISHED["info"]["version"]
    assert served["security"] == PUBLISHED["security"]
    assert served["components"]["securitySchemes"] == PUBLISHED["components"]["securitySchemes"]
    assert {"/v2/tasks/{task_id}", "/v2/tasks/{task_id}/proof", "/v2/models", "/v2/health"} <= set(served["paths"])


def test_every_reference_leads_somewhere(served: dict[str, Any]) -> None:
    text = json.dumps(served)
    wanted = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert wanted <= set(served["components"]["schemas"])


async def test_the_interactive_docs(world: World) -> None:
    reply = await world.client.get("/docs")
    assert reply.headers["content-type"].startswith("text/html")
    assert "/v2/openapi-public.json" in reply.text
