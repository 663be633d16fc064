"""The lists of models and prices, health, and the page at the root."""

from __future__ import annotations

import pytest

from tests.unit.api.conftest import CHAT, World


async def test_models_by_mode_and_source(world: World) -> None:
    body = (await world.client.get("/v2/models")).json()
    names = {mode: [row["name"] for row in body[mode]["openai"]] for mode in ("auto", "direct", "opengpu")}
    assert names == {
        "auto": ["relay/both", "relay/network", "direct-only", "relay/vectors"],
        "direct": ["relay/both", "direct-only", "relay/vectors"],
        "opengpu": ["relay/both", "relay/network", "relay/vectors"],
    }
    assert set(body["model_restrictions_per_tier"]) == {"guest", "basic", "pro", "max"}
    row = body["auto"]["openai"][0]
    assert (row["tag"], row["display_name"], row["endpoint"]["path"]) == ("text-to-text", "Both", CHAT)
    assert "display_name" not in body["auto"]["openai"][1]


async def test_one_model(world: World) -> None:
    body = (await world.client.get("/v2/models/relay/both")).json()
    assert (body["modes"], body["sources"], body["available"]) == (["opengpu", "direct"], ["openai"], True)
    assert body["endpoint"]["operation_id"] == "openai_chat_completions_v2_openai_v1_chat_completions_post"
    assert body["request_schema"]["additionalProperties"] is False
    assert body["request_schema_url"].endswith("OpenAIChatRequest")
    assert body["pricing"][0]["per_1m_output_tokens"] == 0.48


@pytest.mark.parametrize("live", [set(), {"relay/network"}])
async def test_a_model_of_the_network_is_available_while_a_node_serves_it(world: World, live: set[str]) -> None:
    world.relay.live = live
    assert (await world.client.get("/v2/models/relay/network")).json()["available"] is bool(live)


@pytest.mark.parametrize("path", ["/v2/models/nobody/has-this", "/v2/openai/v1/models/nobody", "/v2/models/a//b"])
async def test_an_unknown_model(world: World, path: str) -> None:
    reply = await world.client.get(path)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "MODEL_NOT_FOUND")


async def test_models_as_openai_lists_them(world: World) -> None:
    body = (await world.client.get("/v2/openai/v1/models")).json()
    row = {"id": "relay/both", "object": "model", "created": 1_735_689_600, "owned_by": "relay"}
    assert (body["object"], body["data"][0]) == ("list", row)
    assert (await world.client.get("/v2/openai/v1/models/relay/both")).json() == row


async def test_prices_have_the_digits_of_the_file(world: World) -> None:
    reply = await world.client.get("/v2/pricing")
    assert reply.json()["total_count"] == len(reply.json()["pricing"]) == 6
    assert reply.json()["pricing"][0] == {
        "mode": "opengpu",
        "model": "openai.relay/both",
        "billing_type": "per_token",
        "per_1m_input_tokens": 0.08,
        "per_1m_output_tokens": 0.48,
    }
    assert '"per_1m_input_tokens":0.08,' in reply.text


@pytest.mark.parametrize(("ready", "status", "said"), [(True, 200, "ok"), (False, 503, "degraded")])
async def test_health(world: World, ready: bool, status: int, said: str) -> None:
    world.relay.is_ready = ready
    reply = await world.client.get("/v2/health")
    assert (reply.status_code, reply.json()) == (status, {"status": said, "version": "1.2.3", "commit": "abc"})


async def test_the_root_points_to_the_docs(world: World) -> None:
    body = (await world.client.get("/")).json()
    for key in ("docs", "openapi", "models", "health"):
        assert (await world.client.get(body[key])).status_code == 200
