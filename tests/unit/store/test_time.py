"""An outage of ours, and a clock that is set, cost nobody anything; and no task more than its lease."""

from __future__ import annotations

from datetime import timedelta

from redis.asyncio import Redis

from coordinator.errors import UpstreamTimeout
from coordinator.lifecycle.task import TaskState
from tests.unit.store.ageing import outage, standing, took
from tests.unit.store.network import MODEL, Network

MINUTE = timedelta(minutes=1)


async def first_token_ms(network: Network, node: str) -> float:
    return (await network.nodes.standing(node)).speeds[MODEL].first_token_ms or 0


async def test_an_outage_says_nothing_of_how_fast_a_node_is(network: Network) -> None:
    """Neither what is reported before anybody looks at the time nor what comes after."""
    node = await network.sign_in(1, slots=8)
    for _ in range(5):
        task = await network.submit()
        await took(network, f"{task}#1", timedelta(seconds=1))
        await network.complete(f"{task}#1", node)
    before = await first_token_ms(network, node)
    attempts = [f"{await network.submit()}#1" for _ in range(8)]
    await network.beat(node, *attempts)
    await outage(network, 5 * MINUTE)
    await network.complete(attempts.pop(), node)
    assert (await network.tasks.sweep()).lost == []
    for attempt in attempts:
        assert await network.complete(attempt, node) is None
    assert await first_token_ms(network, node) == before
    assert round((await standing(network, node))["successes"]) == 13
    task = await network.submit()
    await network.redis.delete("relay:swept_ms")  # however slow this machine is
    await took(network, f"{task}#1", -MINUTE)  # opened after the outage was noticed
    await network.complete(f"{task}#1", node)
    assert await first_token_ms(network, node) < before


async def test_a_task_whose_time_was_up_in_an_outage_has_a_lease_more(network: Network) -> None:
    node = await network.sign_in(1, slots=1)
    running, waiting = await network.submit(), await network.submit()
    await network.beat(node, f"{running}#1")
    await outage(network, 16 * MINUTE)
    for _ in range(2):
        assert (await network.tasks.sweep()).given_up == []
    assert await network.complete(f"{running}#1", node) is None
    *_, envelope = await network.envelopes(node)
    assert (envelope["task_id"], await network.state(waiting)) == (waiting, TaskState.ASSIGNED)
    left = int(str(envelope["deadline_ms"])) - int(str(envelope["assigned_at_ms"]))
    assert 0 < left <= 10_000


async def shift(redis: Redis, by: timedelta) -> None:
    """As if the server's clock had been set back by so much: all moments lie later than they were."""
    ms = round(by.total_seconds() * 1000)
    for key in ("relay:leases", "relay:nodes", "relay:deadlines"):
        for member, score in await redis.zrange(key, 0, -1, withscores=True):
            await redis.zadd(key, {member: score + ms})
    await redis.incrby("relay:swept_ms", ms)


async def test_a_clock_that_is_set_back_keeps_no_dead_node(network: Network, redis: Redis) -> None:
    node = await network.sign_in(1, slots=1)
    task = await network.submit()
    await network.tasks.sweep()
    await shift(redis, 5 * MINUTE)
    await network.tasks.sweep()
    seconds, _ = await redis.time()
    for key, member in (("relay:leases", f"{task}#1"), ("relay:nodes", node)):
        assert (await redis.zscore(key, member) or 0) / 1000 < seconds + 12


async def test_a_node_that_had_what_was_left_of_a_tasks_time_is_not_blamed(network: Network) -> None:
    """Its word that time is up may come before anybody has looked."""
    node = await network.sign_in(1, slots=1)
    task = await network.submit()
    await network.redis.hset(f"relay:task:{task}", "deadline_ms", str(round(network.now().timestamp() * 1000)))
    await network.tasks.give_up_attempt(task, 1, node, "fault", UpstreamTimeout("late"))
    assert (await standing(network, node))["timeouts"] == 0
