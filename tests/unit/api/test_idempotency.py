"""Idempotency-Key over HTTP: two API processes on one store, and upstreams that count what reaches them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from coordinator.api.app import create_app
from coordinator.api.front_door import FrontDoor
from coordinator.errors import (
    CapacityExhausted,
    RelayError,
    StoreUnavailable,
    UpstreamError,
    UpstreamInvalidRequest,
    UpstreamRateLimited,
)
from coordinator.lifecycle.flow import Relay
from coordinator.protocol import hashing
from coordinator.protocol.ids import TaskId, new_task_id
from coordinator.store.idempotency import IdempotencyClaims
from coordinator.store.scripts import Scripts
from coordinator.store.signals import Signals
from coordinator.store.space import SpaceReader, publish
from tests.fakes.relay import GOOD_KEY, FakeKeyBook, FakeUpstreams
from tests.fakes.upstream import ANSWER, COMPLETION
from tests.unit.api.conftest import CHAT, World, asking, catalogue
from tests.unit.store.network import Network

SPACE = hashing.TaskSpace(31337, "0x" + "11" * 20, "0x" + "22" * 20, "0x" + "33" * 20)
MODEL = "relay/both"


class Claims(IdempotencyClaims):
    """`joining` is set once somebody waits for another's call."""

    def __init__(self, scripts: Scripts, signals: Signals) -> None:
        super().__init__(scripts, signals)
        self.joining = asyncio.Event()

    async def ended(self, task_id: TaskId, timeout: timedelta) -> None:
        self.joining.set()
        await super().ended(task_id, timeout)


@dataclass
class Process:
    """One API process."""

    app: FrontDoor
    client: httpx.AsyncClient
    claims: Claims

    async def ask(self, key: str = "k", **fields: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key, "X-API-Key": GOOD_KEY}
        return await self.client.post(CHAT, json=asking(**fields), headers=headers)


@dataclass
class Relays:
    network: Network
    upstreams: FakeUpstreams
    one: Process
    other: Process


@pytest.fixture
async def relays() -> AsyncIterator[Relays]:
    server, upstreams = FakeServer(), FakeUpstreams()
    async with AsyncExitStack() as stack:

        async def process() -> tuple[Process, Network]:
            redis = FakeAsyncRedis(server=server)
            stack.push_async_callback(redis.aclose)
            network, signals = Network(redis), Signals(redis)
            relay = Relay(network.tasks, signals, network.nodes, SpaceReader(redis), [MODEL])
            claims = Claims(network.scripts, signals)
            stack.callback(asyncio.create_task(signals.run()).cancel)
            app = create_app(relay, FakeKeyBook(), claims, catalogue(), upstreams, version="1", commit="c")
            client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://relay")
            return Process(app, await stack.enter_async_context(client), claims), network

        (one, network), (other, _) = await process(), await process()
        await publish(network.redis, SPACE)
        yield Relays(network, upstreams, one, other)


def replayed(reply: httpx.Response) -> bool:
    return reply.headers.get("idempotency-replayed") == "true"


async def test_an_asynchronous_call_is_accepted_once(relays: Relays) -> None:
    first = await relays.one.ask(asynchronous=True)
    again = [await process.ask(asynchronous=True) for process in (relays.one, relays.other)]
    assert (first.status_code, replayed(first)) == (202, False)
    for reply in again:
        assert (reply.status_code, replayed(reply), reply.content) == (202, True, first.content)
        assert reply.headers["x-task-id"] == first.headers["x-task-id"]
    assert len(await relays.network.redis.keys("relay:task:*")) == 1


async def test_a_direct_call_is_joined_and_then_remembered(relays: Relays) -> None:
    relays.upstreams.gate.clear()
    first = asyncio.create_task(relays.one.ask())
    await asyncio.wait_for(relays.upstreams.called.wait(), 5)
    joined = asyncio.create_task(relays.other.ask())
    await asyncio.wait_for(relays.other.claims.joining.wait(), 5)
    assert not joined.done()
    relays.upstreams.gate.set()
    replies = [await first, await joined, await relays.other.ask()]
    assert [reply.status_code for reply in replies] == [200] * 3
    assert [replayed(reply) for reply in replies] == [False, True, True]
    assert len({reply.content for reply in replies}) == 1
    assert len(relays.upstreams.calls) == 1
    assert await relays.network.redis.exists(f"relay:task:{replies[0].json()['task_id']}")


async def test_a_joined_call_whose_client_hangs_up_is_run_by_who_joined_it(relays: Relays) -> None:
    relays.upstreams.gate.clear()
    gone, body, sent = asyncio.Event(), orjson.dumps(asking()), []

    async def receive() -> dict[str, Any]:
        if sent:
            await gone.wait()
            return {"type": "http.disconnect"}
        sent.append(True)
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        raise AssertionError("nobody is there to be answered")

    headers = [(b"x-api-key", GOOD_KEY.encode()), (b"idempotency-key", b"k")]
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers, "query_string": b""}
    left = asyncio.create_task(relays.one.app(scope, receive, send))
    await asyncio.wait_for(relays.upstreams.called.wait(), 5)
    joined = asyncio.create_task(relays.other.ask())
    await asyncio.wait_for(relays.other.claims.joining.wait(), 5)
    gone.set()
    await asyncio.wait_for(left, 5)
    relays.upstreams.gate.set()
    reply = await asyncio.wait_for(joined, 5)
    assert (reply.status_code, replayed(reply), len(relays.upstreams.calls)) == (200, False, 2)
    assert relays.upstreams.cancelled.is_set()


async def test_a_task_is_joined_and_then_remembered(relays: Relays) -> None:
    node = await relays.network.sign_in(1, models=(MODEL,))
    calls = [asyncio.create_task(process.ask(mode="opengpu")) for process in (relays.one, relays.other)]
    async with asyncio.timeout(5):
        while not (held := await relays.network.held(node)):
            await asyncio.sleep(0.01)
    [attempt] = held
    await relays.network.complete(attempt, node, ANSWER.decode())
    replies = [*await asyncio.gather(*calls), await relays.one.ask(mode="opengpu")]
    assert {reply.status_code for reply in replies} <= {200, 409}  # 409 for one that came before there was a task
    done = [reply for reply in replies if reply.status_code == 200]
    assert len({reply.content for reply in done}) == 1
    assert done[0].json()["choices"] == COMPLETION["choices"]
    assert [replayed(reply) for reply in done].count(False) == 1


@pytest.mark.parametrize("error", [UpstreamError("It broke."), UpstreamRateLimited("Slow down.")])
async def test_what_failed_for_no_fault_of_the_clients_is_worth_a_retry(relays: Relays, error: RelayError) -> None:
    relays.upstreams.outcome = error
    failed = await relays.one.ask()
    assert failed.status_code == error.status
    relays.upstreams.outcome = ANSWER
    retried = await relays.other.ask()
    assert (retried.status_code, replayed(retried)) == (200, False)
    assert retried.json()["task_id"] != failed.headers["x-task-id"]


async def test_what_failed_by_the_clients_fault_is_remembered(relays: Relays) -> None:
    relays.upstreams.outcome = UpstreamInvalidRequest("No such tool.")
    first, again = await relays.one.ask(), await relays.other.ask()
    assert (first.status_code, again.status_code, replayed(again)) == (400, 400, True)
    assert first.json()["error"]["message"] == again.json()["error"]["message"] == "No such tool."
    assert len(relays.upstreams.calls) == 1


async def test_a_refused_submit_releases_the_key(relays: Relays) -> None:
    refused = await relays.one.ask(mode="opengpu", asynchronous=True)
    assert refused.json()["error"]["code"] == "PROVIDER_UNAVAILABLE"
    await relays.network.sign_in(1, models=(MODEL,))
    accepted = await relays.other.ask(mode="opengpu", asynchronous=True)
    assert (accepted.status_code, replayed(accepted)) == (202, False)


async def test_another_request_under_the_same_key_is_refused(relays: Relays) -> None:
    await relays.one.ask(asynchronous=True)
    for fields in ({"asynchronous": True, "seed": 1}, {}, {"mode": "opengpu"}):
        reply = await relays.other.ask(**fields)
        assert (reply.status_code, reply.json()["error"]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert (await relays.one.ask("another", asynchronous=True)).status_code == 202


async def test_a_callers_keys_are_his_own(relays: Relays) -> None:
    first = await relays.one.ask(asynchronous=True)
    guest = await relays.one.client.post(
        CHAT, json=asking(asynchronous=True), headers={"Idempotency-Key": "k"}
    )  # fmt: skip
    assert (guest.status_code, replayed(guest)) == (202, False)
    assert guest.json()["task_id"] != first.json()["task_id"]


async def test_what_a_killed_process_left_behind_is_taken_over(relays: Relays) -> None:
    relays.upstreams.gate.clear()
    killed = asyncio.create_task(relays.one.ask())
    await asyncio.wait_for(relays.upstreams.called.wait(), 5)
    [name] = await relays.network.redis.keys("relay:idem:*")
    await relays.network.redis.hset(name, "until_ms", "0")  # it renews no more
    taking = asyncio.create_task(relays.other.ask())
    async with asyncio.timeout(5):
        while len(relays.upstreams.calls) < 2:
            await asyncio.sleep(0.01)
    relays.upstreams.gate.set()
    taken, late = await taking, await killed
    assert (taken.status_code, replayed(taken)) == (200, False)
    assert (late.status_code, late.json()["error"]["code"]) == (409, "IDEMPOTENCY_IN_PROGRESS")
    assert len(await relays.network.redis.keys("relay:task:*")) == 1


async def test_a_stream_takes_a_key_and_ignores_it(world: World) -> None:
    headers = {"Idempotency-Key": "k"}
    world.upstreams.outcome = CapacityExhausted("full")
    reply = await world.client.post(CHAT, json=asking(stream=True), headers=headers)
    assert reply.status_code == 503
    assert world.claims.asked == []


# ── branches that a store is in only for a moment ───────────────────────────


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_that_is_none(world: World, key: str) -> None:
    reply = await world.client.post(CHAT, json=asking(), headers={"Idempotency-Key": key})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "VALIDATION_ERROR")
    assert reply.json()["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    assert world.untouched


async def keyed(world: World, **fields: Any) -> httpx.Response:
    return await world.client.post(CHAT, json=asking(**fields), headers={"Idempotency-Key": "k" * 255})


async def test_while_it_is_being_accepted(world: World) -> None:
    world.claims.turns = [("pending", new_task_id("direct"))]
    reply = await keyed(world, asynchronous=True)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "IDEMPOTENCY_IN_PROGRESS")
    assert reply.headers["retry-after"] == "1"
    assert world.untouched


async def test_a_joined_call_that_died_is_run(world: World) -> None:
    world.claims.turns = [("running", new_task_id("direct"))]
    world.claims.ending.set()
    reply = await keyed(world)
    assert (reply.status_code, replayed(reply), len(world.upstreams.calls)) == (200, False, 1)
    (_, nothing), (_, joined) = world.claims.asked
    assert (nothing, joined is None) == (None, False)


@pytest.mark.parametrize("error", [StoreUnavailable("down"), CapacityExhausted("full")])
async def test_what_was_not_accepted_is_released(world: World, error: RelayError) -> None:
    world.relay.failing = error
    assert (await keyed(world, asynchronous=True)).status_code == 503
    assert (len(world.claims.released), world.claims.settled) == (1, [])


async def test_an_answer_is_not_withheld_because_the_store_is_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.api.keeping._PAUSES_S", ())
    world.relay.failing = StoreUnavailable("down")
    reply = await keyed(world)
    assert (reply.status_code, reply.json()["choices"]) == (200, COMPLETION["choices"])


async def test_a_replay_of_what_has_expired(world: World) -> None:
    gone = new_task_id("direct")
    world.relay.expired.add(gone)
    world.claims.turns = [("accepted", gone)]
    reply = await keyed(world)
    assert (reply.status_code, reply.json()["error_detail"], replayed(reply)) == (404, "TASK_EXPIRED", True)


async def test_without_a_key_nobody_is_asked(world: World) -> None:
    await world.ask()
    assert world.claims.asked == []
