"""Text completions and embeddings: what is accepted, what goes on, what comes back, who offers them."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from coordinator.api import fields
from coordinator.api.fields import Fate
from coordinator.api.requests import OWN_FIELDS, PRIVATE_FIELDS, OpenAIChatRequest
from scripts.network.children import ROOT
from tests.fakes.relay import FakeFrames
from tests.fakes.upstream import DONE
from tests.unit.api.conftest import CHAT, World, asking

COMPLETIONS = "/v2/openai/v1/completions"
EMBEDDINGS = "/v2/openai/v1/embeddings"
TEXT = orjson.dumps(
    {"id": "cmpl-1", "object": "text_completion", "model": "x", "choices": [{"index": 0, "text": "time"}]}
)
VECTORS = orjson.dumps({"object": "list", "model": "x", "data": [{"index": 0, "embedding": [0.5, 1.0]}]})


async def complete(world: World, **fields: Any) -> httpx.Response:
    return await world.client.post(COMPLETIONS, json={"model": "relay/both", "prompt": "Once upon a", **fields})


async def embed(world: World, **fields: Any) -> httpx.Response:
    return await world.client.post(EMBEDDINGS, json={"model": "relay/vectors", "input": "Hello!", **fields})


async def test_a_text_completion_in_direct_mode(world: World) -> None:
    world.upstreams.outcome = TEXT
    reply = await complete(world, max_tokens=5, best_of=3, n=2, echo=False, mode=None, user="me")
    assert reply.status_code == 200
    assert reply.json()["choices"] == [{"index": 0, "text": "time"}]
    assert (reply.json()["mode"], reply.json()["task_address"]) == ("direct", None)
    [(model, sent)], [path] = world.upstreams.calls, world.upstreams.paths
    assert (model, path) == ("relay/both", "completions")
    assert orjson.loads(sent) == {
        "model": "relay/both", "prompt": "Once upon a", "max_tokens": 5, "best_of": 3, "n": 2, "echo": False,
        "user": "me",
    }  # fmt: skip


async def test_a_text_completion_in_opengpu_mode_tells_no_stranger_who_asks(world: World) -> None:
    world.relay.at_once = TEXT
    reply = await complete(world, mode="opengpu", user="me", seed=7)
    assert (reply.status_code, reply.json()["mode"]) == (200, "opengpu")
    [order] = world.relay.orders
    assert order.endpoint == "completions"
    assert orjson.loads(order.request) == {"model": "relay/both", "prompt": "Once upon a", "seed": 7}


async def test_a_text_completion_as_a_stream_and_as_a_task(world: World) -> None:
    frame = b'data: {"choices":[{"index":0,"text":"time"}]}\n\n'
    world.upstreams.frames = FakeFrames([frame, DONE])
    assert (await complete(world, stream=True)).content == frame + DONE
    accepted = await complete(world, **{"async": True, "mode": "opengpu"})
    assert (accepted.status_code, accepted.json()["status"]) == (202, "queued")
    assert world.relay.orders[-1].endpoint == "completions"


@pytest.mark.parametrize("mode", ["direct", "opengpu"])
async def test_embeddings(world: World, mode: str) -> None:
    world.upstreams.outcome = world.relay.at_once = VECTORS
    reply = await embed(world, mode=mode, dimensions=2, encoding_format="float", user="me")
    assert reply.status_code == 200
    assert reply.json()["data"] == [{"index": 0, "embedding": [0.5, 1.0]}]
    assert reply.json()["mode"] == mode
    sent = world.upstreams.calls[0][1] if mode == "direct" else world.relay.orders[0].request
    expected = {"model": "relay/vectors", "input": "Hello!", "dimensions": 2, "encoding_format": "float"}
    assert orjson.loads(sent) == expected | ({"user": "me"} if mode == "direct" else {})


@pytest.mark.parametrize("value", ["text", ["a", "b"], [1, 2, 3], [[1], [2, 3]]])
async def test_every_form_of_input(world: World, value: Any) -> None:
    world.upstreams.outcome = VECTORS
    assert (await embed(world, input=value)).status_code == 200
    world.upstreams.outcome = TEXT
    assert (await complete(world, prompt=value)).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [{"input": ""}, {"input": []}, {"input": [""]}, {"input": [[]]}, {"input": None}, {"input": 5}, {"input": [1, "a"]},
     {"input": [-1]}, {"input": ["a"] * 2049}, {"dimensions": 0}, {"dimensions": 1.5}, {"encoding_format": "hex"},
     {"stream": True}, {"temperature": 1}, {"messages": []}],
)  # fmt: skip
async def test_embeddings_that_are_refused(world: World, fields: dict[str, Any]) -> None:
    reply = await embed(world, **fields)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "VALIDATION_ERROR")
    assert next(iter(fields)) in reply.json()["error"]["message"]
    assert len(reply.content) < 1000
    assert world.untouched


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"prompt": None}, 422), ({"prompt": []}, 422), ({"prompt": [[]]}, 422), ({"prompt": ["a"] * 129}, 422),
     ({"best_of": 21}, 422), ({"best_of": 1, "n": 2}, 422), ({"best_of": 2, "stream": True}, 422), ({"n": 11}, 422),
     ({"logprobs": 6}, 422), ({"logprobs": True}, 422), ({"suffix": 5}, 422), ({"max_tokens": 0}, 422),
     ({"echo": 1}, 422), ({"stop": list("abcde")}, 422), ({"tools": []}, 422), ({"messages": []}, 422),
     ({"stream": True, "mode": "opengpu"}, 400), ({"stream": True, "async": True}, 400), ({"stream_options": {}}, 400)],
)  # fmt: skip
async def test_completions_that_are_refused(world: World, fields: dict[str, Any], status: int) -> None:
    reply = await complete(world, **fields)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, "VALIDATION_ERROR")
    assert reply.json()["error"]["message"].startswith(tuple(fields))
    assert world.untouched


@pytest.mark.parametrize(
    ("path", "model"), [(CHAT, "relay/vectors"), (COMPLETIONS, "relay/vectors"), (EMBEDDINGS, "relay/both")]
)
async def test_a_model_is_refused_where_it_is_not_offered(world: World, path: str, model: str) -> None:
    fields = {CHAT: {"messages": [{"role": "user"}]}, COMPLETIONS: {"prompt": "x"}, EMBEDDINGS: {"input": "x"}}[path]
    reply = await world.client.post(path, json={"model": model, **fields})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "MODEL_NOT_AVAILABLE")
    assert "not offered" in reply.json()["error"]["message"]
    assert world.untouched


async def test_the_lists_say_where_a_model_is_offered(world: World) -> None:
    detail = (await world.client.get("/v2/models/relay/vectors")).json()
    assert (detail["endpoint"]["path"], detail["endpoint"]["streams"]) == (EMBEDDINGS, False)
    assert detail["endpoints"] == [EMBEDDINGS]
    assert detail["request_schema"]["required"] == ["model", "input"]
    reply = await world.client.post(EMBEDDINGS, json=detail["request_example"])
    assert reply.status_code == 200
    both = (await world.client.get("/v2/models/relay/both")).json()
    assert both["endpoints"] == [CHAT, COMPLETIONS]
    rows = (await world.client.get("/v2/models")).json()["auto"]["openai"]
    assert {row["name"]: row["tag"] for row in rows}["relay/vectors"] == "text-to-embedding"


async def test_fields_that_openais_clients_send_today(world: World) -> None:
    """fields.py says what becomes of each: this sends them all, in both modes."""
    passed: dict[str, Any] = {
        "parallel_tool_calls": True, "prediction": {"type": "content", "content": "x"}, "verbosity": "low"
    }  # fmt: skip
    private: dict[str, Any] = {
        "user": "me", "safety_identifier": "hash", "metadata": {"a": "b"}, "store": False, "prompt_cache_key": "k",
        "prompt_cache_retention": "24h", "prompt_cache_options": {"mode": "explicit"},
    }  # fmt: skip
    ignored: dict[str, Any] = {"service_tier": "priority", "modalities": ["text"]}
    everything = passed | private | ignored
    assert (await world.ask(mode="direct", **everything)).status_code == 200
    assert orjson.loads(world.upstreams.calls[0][1]) == asking() | passed | private
    assert (await world.ask(mode="opengpu", **everything)).status_code == 200
    assert orjson.loads(world.relay.orders[0].request) == asking() | passed


@pytest.mark.parametrize(
    ("sent", "words"),
    [({"functions": []}, "use tools"), ({"function_call": "auto"}, "use tool_choice"), ({"audio": {}}, "text alone"),
     ({"web_search_options": {}}, "searches no web"), ({"moderation": {}}, "moderates nothing"),
     ({"modalities": ["text", "audio"]}, "'text'"), ({"metadata": {"k": 5}}, "string"),
     ({"metadata": {"k" * 65: "v"}}, "64"), ({"metadata": {str(i): "" for i in range(17)}}, "16"),
     ({"service_tier": "best"}, "'auto'"), ({"verbosity": "terse"}, "'low'"), ({"nobody_knows": 1}, "not permitted")],
)  # fmt: skip
async def test_fields_that_are_refused(world: World, sent: dict[str, Any], words: str) -> None:
    reply = await world.ask(**sent)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "VALIDATION_ERROR")
    assert reply.json()["error"]["message"].startswith(next(iter(sent)))
    assert words in reply.json()["error"]["message"]
    assert world.untouched


def test_every_field_of_the_table_is_in_the_schema_or_refused() -> None:
    known = {field.alias or name for name, field in OpenAIChatRequest.model_fields.items()}
    refused = fields.of(Fate.REFUSED)
    assert set(fields.FIELDS) & known == set(fields.FIELDS) - refused
    assert known >= OWN_FIELDS | PRIVATE_FIELDS


def test_openais_own_client_sends_no_field_that_nobody_has_decided_about() -> None:
    """A new version of the SDK with a new field fails here: decide what becomes of it."""
    known = {field.alias or name for name, field in OpenAIChatRequest.model_fields.items()} | set(fields.FIELDS)
    assert set(CompletionCreateParamsBase.__annotations__) <= known


def test_the_readme_has_the_table() -> None:
    texts = [path.read_text() for path in (ROOT / "README.md", ROOT / "coordinator/README.md")]
    heads = [text for text in texts if fields.readme_table().splitlines()[0] in text]
    assert heads
    assert all(fields.readme_table() in text for text in heads)
