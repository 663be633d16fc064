"""A Redis that is killed with -9."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from celery import Celery
from redis.asyncio import Redis

from coordinator.errors import StoreUnavailable
from coordinator.store.signals import Signals
from tests.parts.servers import RedisServer
from tests.unit.store.network import Network


async def test_what_was_accepted_survives_kill_9(network: Network, redis_server: RedisServer) -> None:
    node = await network.sign_in(1, slots=1)
    tasks = [await network.submit() for _ in range(20)]
    redis_server.kill()
    with pytest.raises(StoreUnavailable):
        await network.submit()
    redis_server.start()
    assert [await network.state(task) for task in tasks] == ["assigned"] + ["waiting"] * 19
    assert await network.held(node) == {f"{tasks[0]}#1"}
    assert len(await network.envelopes(node)) == 1


async def test_a_stock_celery_application_reads_the_envelope(network: Network, redis_server: RedisServer) -> None:
    """Guards the message format that the script writes: kombu itself decodes it."""
    node = await network.sign_in(1)
    task_id = await network.submit()
    app = Celery(broker=redis_server.url)
    app.conf.broker_transport_options = {"global_keyprefix": f"broker:{node}:", "priority_steps": [0]}

    def take() -> tuple[object, dict[str, object]]:
        with app.connection_for_read() as connection, connection.SimpleQueue(f"node.{node}") as queue:
            message = queue.get(timeout=60)
            message.ack()
            return message.payload, message.headers

    payload, headers = await asyncio.to_thread(take)
    [envelope], kwargs, _ = payload  # type: ignore[misc]
    assert (envelope["task_id"], kwargs, headers["task"]) == (task_id, {}, "relay.run_attempt")


async def test_an_end_is_heard_and_one_missed_costs_nothing_but_time(redis: Redis, redis_server: RedisServer) -> None:
    signals = Signals(redis)
    listening = asyncio.create_task(signals.run())
    try:
        first, second = signals.ending("opengpu:a"), signals.ending("opengpu:b")
        await _until_subscribed(redis)
        await redis.publish("relay:ended", "opengpu:a")
        await asyncio.wait_for(first.heard(timedelta(seconds=60)), 30)
        first.close()
        redis_server.kill()
        redis_server.start()
        await _until_subscribed(redis)
        await redis.publish("relay:ended", "opengpu:b")
        await asyncio.wait_for(second.heard(timedelta(seconds=60)), 30)
    finally:
        listening.cancel()


async def _until_subscribed(redis: Redis) -> None:
    async with asyncio.timeout(60):
        while dict(await redis.pubsub_numsub("relay:ended")).get(b"relay:ended", 0) == 0:
            await asyncio.sleep(0.02)
