"""The client's side of the flow, on the fake store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from coordinator.errors import CapacityExhausted, StoreUnavailable, TaskNotFound
from coordinator.lifecycle.flow import Relay
from coordinator.lifecycle.order import Order
from coordinator.lifecycle.task import TaskView
from coordinator.protocol import hashing
from coordinator.protocol.envelope import Envelope
from coordinator.protocol.ids import TaskId, new_task_id
from coordinator.protocol.report import Receipt
from coordinator.store.signals import Signals
from coordinator.store.space import SpaceReader, publish
from coordinator.store.tasks import TaskStore
from tests.unit.store.network import MODEL, REQUEST, Network

SPACE = hashing.TaskSpace(31337, "0x" + "11" * 20, "0x" + "22" * 20, "0x" + "33" * 20)
ORDER = Order("opengpu", MODEL, REQUEST, "guest")


@dataclass
class Parts:
    relay: Relay
    network: Network
    tasks: TaskStore


@pytest.fixture
async def parts() -> AsyncIterator[Parts]:
    redis = FakeAsyncRedis(server=FakeServer())
    network, signals = Network(redis), Signals(redis)
    relay = Relay(network.tasks, signals, network.nodes, SpaceReader(redis), [MODEL])
    listening = asyncio.create_task(signals.run())
    yield Parts(relay, network, network.tasks)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await redis.aclose()


async def test_before_the_chain_writer_nothing_is_accepted(parts: Parts) -> None:
    await parts.network.sign_in(1)
    with pytest.raises(CapacityExhausted, match="chain writer"):
        await parts.relay.submit(ORDER)
    assert await parts.network.redis.keys("relay:task:*") == []


async def test_the_address_and_hashes_can_be_recomputed_from_the_proof(parts: Parts) -> None:
    await publish(parts.network.redis, SPACE)
    node = await parts.network.sign_in(1)
    view = await parts.relay.submit(ORDER)
    [raw] = await parts.network.envelopes(node)
    envelope = Envelope.model_validate(raw)
    proof = await parts.relay.proof(view.task_id)
    salt = hashing.unhex(proof["salt"])
    assert proof["request"].encode() == REQUEST
    assert proof["request_hash"] == hashing.salted_hash(salt, REQUEST) == envelope.request_hash
    assert proof["task_key"] == hashing.task_key(salt, view.task_id)
    expected = SPACE.task_address(proof["task_key"], proof["request_hash"])
    assert proof["task_address"] == view.task_address == envelope.task_address == expected
    assert (proof["opening"]["status"], proof["settlement"]["status"]) == ("pending", "none")


async def test_the_proof_of_an_ended_task_holds_the_receipt_as_an_object(parts: Parts) -> None:
    await publish(parts.network.redis, SPACE)
    node = await parts.network.sign_in(1)
    view = await parts.relay.submit(ORDER)
    assert (await parts.relay.proof(view.task_id))["status"] == "queued"
    await parts.network.complete(f"{view.task_id}#1", node, '{"a":1}')
    proof = await parts.relay.proof(view.task_id)
    assert (proof["status"], proof["answer"], proof["node"]) == ("completed", '{"a":1}', node)
    assert Receipt.model_validate(proof["receipt"]).attempt == 1


async def test_wait_returns_when_the_task_ends(parts: Parts) -> None:
    await publish(parts.network.redis, SPACE)
    node = await parts.network.sign_in(1)
    view = await parts.relay.submit(ORDER)
    waiting = asyncio.create_task(parts.relay.wait(view.task_id, timedelta(seconds=30)))
    await parts.network.complete(f"{view.task_id}#1", node, '{"a":1}')
    ended = await asyncio.wait_for(waiting, 5)
    assert (ended.status, ended.answer) == ("completed", b'{"a":1}')


async def test_wait_returns_what_there_is_when_time_is_up(parts: Parts) -> None:
    await publish(parts.network.redis, SPACE)
    await parts.network.sign_in(1)
    view = await parts.relay.submit(ORDER)
    assert (await parts.relay.wait(view.task_id, timedelta(milliseconds=20))).status == "queued"


async def test_an_unknown_task_is_not_waited_for(parts: Parts) -> None:
    with pytest.raises(TaskNotFound):
        await parts.relay.wait(new_task_id("opengpu"), timedelta(seconds=30))


async def test_a_store_that_restarts_is_waited_for(parts: Parts) -> None:
    await publish(parts.network.redis, SPACE)
    node = await parts.network.sign_in(1)
    view = await parts.relay.submit(ORDER)
    await parts.network.complete(f"{view.task_id}#1", node)

    class Restarting(TaskStore):
        outages = 2

        async def read(self, task_id: TaskId) -> TaskView:
            if self.outages:
                self.outages -= 1
                raise StoreUnavailable("down")
            return await parts.tasks.read(task_id)

    store = Restarting.__new__(Restarting)
    relay = Relay(store, Signals(parts.network.redis), parts.network.nodes, SpaceReader(parts.network.redis), [MODEL])
    assert (await relay.wait(view.task_id, timedelta(seconds=10))).status == "completed"


async def test_the_models_that_live_nodes_serve(parts: Parts) -> None:
    assert await parts.relay.opengpu_models() == set()
    await parts.network.sign_in(1)
    assert await parts.relay.opengpu_models() == {MODEL}
    assert await parts.relay.ready()
