"""What clients see of their tasks and do with them: cancelled, listed, places in the line, the entry on the chain."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from coordinator.chain.errors import Superseded
from coordinator.errors import CredentialNotPermitted, TaskExpired, TaskNotFound
from coordinator.lifecycle.order import Order
from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.task import ChainEntry, Place
from coordinator.protocol.envelope import BEAT, key_prefix, queue_name
from coordinator.protocol.ids import TaskId, new_task_id
from coordinator.protocol.report import Refusal
from coordinator.store.direct import DirectLine
from coordinator.store.outbox import RedisOutbox
from coordinator.store.signals import Signals
from coordinator.upstream.runner import DirectRunner
from tests.fakes.relay import FakeUpstreams
from tests.unit.store.network import COMMITMENT, MODEL, REQUEST, Network

KEY, OTHER, GUEST = "key_0000000000000001", "key_0000000000000002", "guest:127.0.0.1"
CANCELED = ("failed", "TASK_CANCELED", 410)


async def submit(network: Network, caller: str = KEY, mode: str = "opengpu") -> TaskId:
    task_id = new_task_id(mode)
    order = Order(mode, MODEL, REQUEST, caller, asynchronous=True)  # type: ignore[arg-type]
    await network.tasks.submit(task_id, order, COMMITMENT if mode == "opengpu" else None)
    return task_id


async def end(network: Network, task_id: TaskId) -> tuple[str, str | None, int | None]:
    view = await network.tasks.read(task_id)
    return view.status, view.error_code, view.error_status


# ── cancelling ──────────────────────────────────────────────────────────────


async def test_a_waiting_task_is_cancelled_and_the_line_moves_up(network: Network) -> None:
    await network.sign_in(1, slots=1)
    _, first, second = [await submit(network) for _ in range(3)]
    await network.tasks.cancel(first, KEY)
    assert await end(network, first) == CANCELED
    assert (await network.tasks.read(second)).queue == Place(1, "slot")
    assert (await network.tasks.record(first))["code"] == "TASK_CANCELED"


async def test_a_running_task_is_cancelled_its_node_is_told_and_the_slot_filled(network: Network) -> None:
    node = await network.sign_in(1, slots=1)
    running, waiting = await submit(network), await submit(network)
    await network.beat(node, f"{running}#1")
    await network.tasks.cancel(running, KEY)
    assert await end(network, running) == CANCELED
    assert await network.held(node) == {f"{waiting}#1"}
    assert (await network.beat(node, f"{running}#1")).cancelled == (f"{running}#1",)
    assert await network.complete(f"{running}#1", node) is Refusal.LATE
    assert await end(network, running) == CANCELED


async def test_the_node_is_asked_to_beat_at_once(network: Network, redis: Redis) -> None:
    node = await network.sign_in(1, slots=1)
    task_id = await submit(network)
    await network.envelopes(node)
    await network.tasks.cancel(task_id, KEY)
    (raw,) = await redis.lrange(f"{key_prefix(node)}{queue_name(node)}", 0, -1)
    message = json.loads(raw)
    assert (message["headers"]["task"], json.loads(message["body"])[0]) == (BEAT, [])
    second = await submit(network)
    await redis.zrem("relay:nodes", node)
    await redis.delete(f"{key_prefix(node)}{queue_name(node)}")
    await network.tasks.cancel(second, KEY)
    assert await redis.llen(f"{key_prefix(node)}{queue_name(node)}") == 0


async def test_a_direct_task_is_cancelled_and_its_process_finds_out(network: Network) -> None:
    waiting, running = [await submit(network, mode="direct") for _ in range(2)]
    await network.tasks.cancel(waiting, KEY)
    line = DirectLine(network.scripts, Signals(network.redis))
    claim = await line.claim()
    assert claim is not None
    assert claim.task_id == running
    assert await line.renew([claim]) == []
    await network.tasks.cancel(running, KEY)
    assert await line.renew([claim]) == [claim]
    await line.finish(claim, b"late")
    assert await end(network, running) == await end(network, waiting) == CANCELED


async def test_a_cancelled_direct_task_is_hung_up_on(network: Network) -> None:
    upstreams = FakeUpstreams()
    upstreams.gate.clear()
    line = DirectLine(network.scripts, Signals(network.redis))
    task_id = await submit(network, mode="direct")
    runner = DirectRunner(line, upstreams, slots=2, renew_every=timedelta(milliseconds=20))
    running = asyncio.create_task(runner.run())
    try:
        async with asyncio.timeout(5):
            await upstreams.called.wait()
            await network.tasks.cancel(task_id, KEY)
            await upstreams.cancelled.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert await end(network, task_id) == CANCELED


async def test_what_has_ended_stays_as_it_is(network: Network) -> None:
    node = await network.sign_in(1)
    task_id = await submit(network)
    await network.complete(f"{task_id}#1", node)
    await network.tasks.cancel(task_id, KEY)
    await network.tasks.cancel(task_id, KEY)
    assert (await network.state(task_id)) == "completed"


async def test_who_may_cancel(network: Network) -> None:
    await network.sign_in(1)
    owned, free = await submit(network), await submit(network, GUEST)
    for stranger in (OTHER, GUEST):
        with pytest.raises(CredentialNotPermitted):
            await network.tasks.cancel(owned, stranger)
    await network.tasks.cancel(free, OTHER)
    assert (await network.state(owned), await network.state(free)) == ("assigned", "failed")


async def test_an_id_that_is_none_and_one_that_was(network: Network) -> None:
    await network.sign_in(1)
    task_id = await submit(network)
    await network.tasks.cancel(task_id, KEY)
    await network.redis.delete(f"relay:task:{task_id}")
    with pytest.raises(TaskExpired):
        await network.tasks.cancel(task_id, KEY)
    with pytest.raises(TaskNotFound) as error:
        await network.tasks.cancel(new_task_id("opengpu"), KEY)
    assert not isinstance(error.value, TaskExpired)


# ── listing ─────────────────────────────────────────────────────────────────


async def pages(network: Network, caller: str, limit: int) -> list[list[TaskId]]:
    found: list[list[TaskId]] = []
    after = None
    while True:
        page = await network.tasks.listed(caller, after, limit)
        found.append([view.task_id for view in page.tasks])
        after = page.cursor
        if after is None:
            return found


async def by_age(network: Network, *tasks: TaskId) -> None:
    """As if each had been made a second after the one before."""
    for second, task_id in enumerate(tasks):
        await network.redis.zadd(f"relay:tasks:{KEY}", {task_id: second * 1000})


async def test_a_keys_own_tasks_newest_first(network: Network) -> None:
    await network.sign_in(1)
    tasks = [await submit(network) for _ in range(5)]
    await by_age(network, *tasks)
    await submit(network, OTHER)
    newest = tasks[::-1]
    assert await pages(network, KEY, 2) == [newest[:2], newest[2:4], newest[4:]]
    assert await pages(network, KEY, 5) == [newest]
    assert await pages(network, "key_none", 5) == [[]]


async def test_a_kept_call_is_listed_and_guests_have_no_list(network: Network) -> None:
    task_id = new_task_id("direct")
    await network.tasks.keep(task_id, Order("direct", MODEL, REQUEST, KEY), network.now(), b'{"a":1}')
    await network.tasks.keep(new_task_id("direct"), Order("direct", MODEL, REQUEST, GUEST), network.now(), b"{}")
    (view,) = (await network.tasks.listed(KEY, None, 5)).tasks
    assert (view.task_id, view.status, view.answer) == (task_id, "completed", None)
    assert await network.redis.keys("relay:tasks:guest*") == []


async def test_expired_ones_are_passed_over_but_hold_their_place(network: Network) -> None:
    await network.sign_in(1)
    tasks = [await submit(network) for _ in range(4)]
    await by_age(network, *tasks)
    await network.redis.delete(f"relay:task:{tasks[1]}", f"relay:task:{tasks[3]}")
    assert await pages(network, KEY, 1) == [[tasks[2]], [tasks[0]]]
    page = await network.tasks.listed(KEY, tasks[3], 5)
    assert [view.task_id for view in page.tasks] == [tasks[2], tasks[0]]


async def test_the_list_is_cut_at_its_old_end(network: Network) -> None:
    await network.sign_in(1)
    old, alive, new = [await submit(network) for _ in range(3)]
    await by_age(network, old, alive, new)
    await network.tasks.cancel(old, KEY)
    await network.redis.delete(f"relay:task:{old}")
    await submit(network)
    listed = {item.decode() for item in await network.redis.zrange(f"relay:tasks:{KEY}", 0, -1)}
    assert old not in listed
    assert {alive, new} < listed
    assert (await network.tasks.listed(KEY, old, 5)).tasks == []


async def test_a_cursor_must_be_ones_own(network: Network) -> None:
    await network.sign_in(1)
    for foreign in (await submit(network, OTHER), new_task_id("direct")):
        with pytest.raises(TaskNotFound):
            await network.tasks.listed(KEY, foreign, 5)


# ── where it stands ─────────────────────────────────────────────────────────


async def test_the_place_of_a_task_until_it_runs(network: Network) -> None:
    node = await network.sign_in(1, slots=1)
    tasks = [await submit(network) for _ in range(3)]
    assert [(await network.tasks.read(task)).queue for task in tasks] == [
        Place(0, "start", 0),
        Place(1, "slot"),
        Place(2, "slot"),
    ]
    await network.beat(node, f"{tasks[0]}#1")
    assert (await network.tasks.read(tasks[0])).queue is None
    await network.silence(node)
    assert (await network.tasks.read(tasks[2])).queue == Place(3, "node")


async def test_the_place_of_a_direct_task(network: Network) -> None:
    tasks = [await submit(network, mode="direct") for _ in range(2)]
    assert [(await network.tasks.read(task)).queue for task in tasks] == [Place(1, "slot"), Place(2, "slot")]


async def test_the_entry_on_the_chain(network: Network, redis: Redis) -> None:
    node = await network.sign_in(1)
    task_id = await submit(network)
    assert (await network.tasks.read(task_id)).chain is None
    await network.complete(f"{task_id}#1", node)
    assert (await network.tasks.read(task_id)).chain == ChainEntry("pending", None, None, 0)
    mined = {"settlement": "sent", "settlement_tx": "0xaa", "settlement_block": "10"}
    await redis.hset(f"relay:record:{task_id}", mapping=mined)  # type: ignore[arg-type]
    assert (await network.tasks.read(task_id)).chain == ChainEntry("sent", "0xaa", 10, 1)
    outbox = RedisOutbox(redis)
    await outbox.note_head(12)
    assert (await network.tasks.read(task_id)).chain == ChainEntry("sent", "0xaa", 10, 3)
    (listed,) = (await network.tasks.listed(KEY, None, 1)).tasks
    assert listed.chain == ChainEntry("sent", "0xaa", 10, 3)


async def test_a_direct_task_has_no_entry(network: Network) -> None:
    task_id = new_task_id("direct")
    await network.tasks.keep(task_id, Order("direct", MODEL, REQUEST, KEY), network.now(), b"{}")
    assert (await network.tasks.read(task_id)).chain is None


async def test_a_writer_that_was_superseded_leaves_no_head(redis: Redis) -> None:
    old, new = RedisOutbox(redis), RedisOutbox(redis)
    await old.take_over()
    await new.take_over()
    with pytest.raises(Superseded):
        await old.note_head(5)


async def test_the_list_goes_with_its_last_task(redis: Redis) -> None:
    network = Network(redis, Policy(result_ttl=timedelta(seconds=100), tombstone_ttl=timedelta(seconds=50)))
    await network.sign_in(1)
    await submit(network)
    assert 100 <= await redis.ttl(f"relay:tasks:{KEY}") <= 150
