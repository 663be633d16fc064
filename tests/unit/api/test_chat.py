"""Chat completions: where a request runs, what goes on to the model server, and what comes back."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import httpx
import orjson
import pytest

from coordinator.api.app import create_app
from coordinator.api.chat import ChatLimits
from coordinator.errors import (
    CapacityExhausted,
    ProviderUnavailable,
    StoreUnavailable,
    UpstreamError,
    UpstreamInvalidRequest,
    UpstreamRateLimited,
)
from coordinator.protocol.streaming import streams
from tests.fakes.relay import ADDRESS, FakeClaims, FakeFrames, FakeKeyBook
from tests.fakes.upstream import ANSWER, COMPLETION, DONE, chunk
from tests.unit.api.conftest import CHAT, World, asking, catalogue

OWN = {"task_id", "task_address", "mode"}


@pytest.mark.parametrize(
    ("model", "mode", "runs"),
    [
        ("relay/both", None, "direct"),
        ("relay/both", "auto", "direct"),
        ("relay/both", "direct", "direct"),
        ("relay/both", "opengpu", "opengpu"),
        ("relay/network", "auto", "opengpu"),
        ("direct-only", "auto", "direct"),
    ],
)
async def test_where_a_request_runs(world: World, model: str, mode: str | None, runs: str) -> None:
    reply = await world.ask(model=model, mode=mode)
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert body["mode"] == runs
    assert body["task_id"].startswith(f"{runs}:")
    assert body["task_id"] == reply.headers["x-task-id"]
    assert body["task_address"] == (ADDRESS if runs == "opengpu" else None)
    assert {name: value for name, value in body.items() if name not in OWN} == COMPLETION


async def test_an_answer_keeps_its_bytes(world: World) -> None:
    for mode in ("direct", "opengpu"):
        assert (await world.ask(mode=mode)).content.startswith(ANSWER.rstrip()[:-1].rstrip())


async def test_what_goes_on_to_the_model_server(world: World) -> None:
    fields = {"temperature": 0.5, "seed": 7, "tools": None, "store": True, "user": "me", "top_p": None, "n": 2}
    await world.ask(mode="opengpu", **fields)
    await world.ask(mode="direct", asynchronous=False, **fields)
    plain = asking(temperature=0.5, seed=7, n=2)
    assert orjson.loads(world.relay.orders[0].request) == plain
    assert orjson.loads(world.upstreams.calls[0][1]) == plain | {"store": True, "user": "me"}


async def test_a_conversations_turns_are_known_by_what_was_said_before(world: World) -> None:
    first = asking()["messages"]
    second = [*first, {"role": "assistant", "content": "Hi!"}, {"role": "user", "content": "Who are you?"}]
    for mode in ("opengpu", "direct"):
        for messages in (first, second):
            await world.ask(mode=mode, asynchronous=True, messages=messages)
    [one], [*two], *direct = [order.prefixes for order in world.relay.orders]
    assert (len(two), two[2]) == (3, one)
    assert direct == [(), ()]


@pytest.mark.parametrize(
    ("mode", "fields", "told"),
    [
        ("opengpu", {}, True),
        ("opengpu", {"n": 2}, False),
        ("opengpu", {"tools": [{"type": "function", "function": {"name": "f"}}]}, False),
        ("opengpu", {"tools": None, "logprobs": None, "n": 1}, True),
        ("direct", {}, False),
    ],
)
async def test_a_first_token_is_waited_for_where_a_node_tells_of_it(
    world: World, mode: str, fields: dict[str, object], told: bool
) -> None:
    """What the node is sent decides there: it must come out the same of what the client sent."""
    await world.ask(mode=mode, asynchronous=True, **fields)
    [order] = world.relay.orders
    assert order.streams is told
    assert told is (mode == "opengpu" and streams(orjson.loads(order.request), order.endpoint))


async def test_what_was_checked_is_what_is_sent(world: World) -> None:
    body = b'{"model":"relay/both","messages":[{"role":"user","content":"a"}],"max_tokens":999999,"max_tokens":5}'
    assert (await world.client.post(CHAT, content=body)).status_code == 200
    assert world.upstreams.calls[0][1].count(b"max_tokens") == 1


@pytest.mark.parametrize(("mode", "runs"), [("auto", "direct"), ("opengpu", "opengpu"), ("direct", "direct")])
async def test_async_is_accepted_and_can_be_polled(world: World, mode: str, runs: str) -> None:
    reply = await world.ask(mode=mode, asynchronous=True)
    body = reply.json()
    assert reply.status_code == 202
    assert body["status"] == "queued"
    assert body["poll_url"] == f"/v2/tasks/{body['task_id']}"
    assert isinstance(body["message"], str)
    assert (world.relay.orders[0].mode, world.relay.orders[0].asynchronous) == (runs, True)
    assert (await world.client.get(body["poll_url"])).json()["result"] == COMPLETION


async def test_a_synchronous_direct_call_can_be_polled(world: World) -> None:
    task_id = (await world.ask(mode="direct")).json()["task_id"]
    async with asyncio.timeout(5):
        while not world.relay.kept:
            await asyncio.sleep(0)
    body = (await world.client.get(f"/v2/tasks/{task_id}")).json()
    assert (body["status"], body["mode"], body["result"]) == ("completed", "direct", COMPLETION)


async def test_a_direct_call_that_failed_can_be_polled(world: World) -> None:
    world.upstreams.outcome = UpstreamError("It broke.")
    reply = await world.ask(mode="direct")
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "UPSTREAM_ERROR")
    async with asyncio.timeout(5):
        while not world.relay.kept:
            await asyncio.sleep(0)
    body = (await world.client.get(f"/v2/tasks/{reply.headers['x-task-id']}")).json()
    assert (body["status"], body["error_code"], body["error"]) == ("failed", "UPSTREAM_ERROR", "It broke.")


@pytest.mark.parametrize(
    "error",
    [
        UpstreamInvalidRequest("seed: too large"),
        UpstreamRateLimited("Later.", retry_after=timedelta(seconds=7)),
        ProviderUnavailable("Nobody."),
        CapacityExhausted("Full."),
    ],
)
async def test_failures_of_a_direct_call(world: World, error: Exception) -> None:
    assert isinstance(error, UpstreamInvalidRequest | UpstreamRateLimited | ProviderUnavailable | CapacityExhausted)
    world.upstreams.outcome = error
    reply = await world.ask(mode="direct")
    told = reply.json()
    assert (reply.status_code, told["error"]["code"], told["detail"]) == (error.status, error.code, error.message)
    assert told["error"]["request_id"] == reply.headers["x-request-id"]
    expected = error.retry_after
    assert reply.headers.get("retry-after") == (str(int(expected.total_seconds())) if expected else None)


async def test_a_failed_opengpu_task_fails_the_call_that_waits(world: World) -> None:
    world.relay.at_once = UpstreamInvalidRequest("logprobs: the model server gave none")
    reply = await world.ask(mode="opengpu")
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["source"]) == (400, "UPSTREAM_INVALID_REQUEST", "provider")
    assert reply.headers["x-task-id"] in world.relay.tasks


async def test_nothing_is_accepted_when_the_store_is_down(world: World) -> None:
    world.relay.failing = StoreUnavailable("The store does not answer.")
    reply = await world.ask(mode="opengpu")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
    assert "x-task-id" not in reply.headers


async def test_a_full_line_says_when_to_come_back(world: World) -> None:
    world.relay.failing = CapacityExhausted("The line is full.", retry_after=timedelta(seconds=93))
    reply = await world.ask(mode="opengpu")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "93")
    assert reply.json()["error"]["code"] == "CAPACITY_EXHAUSTED"


async def test_a_wait_that_is_too_long_ends_with_the_id_to_poll(world: World) -> None:
    world.relay.at_once = None
    limits = ChatLimits(wait=timedelta(milliseconds=20))
    app = create_app(
        world.relay, FakeKeyBook(), FakeClaims(), catalogue(), world.upstreams, version="1", commit="c", limits=limits
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://relay") as client:
        reply = await client.post(CHAT, json=asking(mode="opengpu"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "UPSTREAM_TIMEOUT")
    assert f"/v2/tasks/{next(iter(world.relay.tasks))}" in reply.json()["detail"]


async def test_an_answer_with_fields_of_our_name_loses_them(world: World) -> None:
    world.upstreams.outcome = orjson.dumps(COMPLETION | {"mode": "opengpu", "task_id": "forged", "task_address": "0x1"})
    reply = await world.ask(mode="direct")
    assert reply.content.count(b'"mode"') == reply.content.count(b'"task_id"') == 1
    assert (reply.json()["mode"], reply.json()["task_address"]) == ("direct", None)


async def test_a_stream_passes_through(world: World) -> None:
    world.upstreams.frames = FakeFrames([chunk("a"), chunk("b"), DONE])
    reply = await world.ask(stream=True, stream_options={"include_usage": True})
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.content == chunk("a") + chunk("b") + DONE
    assert orjson.loads(world.upstreams.calls[0][1])["stream_options"] == {"include_usage": True}
    assert world.upstreams.frames.closed


async def test_a_failure_before_the_first_frame_has_the_streams_own_shape(world: World) -> None:
    world.upstreams.outcome = UpstreamRateLimited("Later.", retry_after=timedelta(seconds=3))
    reply = await world.ask(stream=True)
    assert reply.status_code == 429
    assert reply.headers["retry-after"] == "3"
    assert reply.json() == {"error": {"message": "Later.", "type": "rate_limit", "code": 429}}
