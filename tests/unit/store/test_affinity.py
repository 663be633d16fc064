"""A conversation's turns go back to the node that has it in its cache: a wish that strands nobody."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.task import Place
from coordinator.protocol.ids import TaskId
from tests.unit.store.network import MODEL, Network, node_address

PATIENCE = Policy(affinity_wait=timedelta(hours=1))


@pytest.fixture
def network(redis: Redis) -> Network:
    return Network(redis, PATIENCE)


def turn(number: int, name: str = "talk") -> tuple[str, ...]:
    """What the order of a conversation's turn carries; turns are counted from 1."""
    return tuple(f"{name}-{earlier}" for earlier in range(number, 0, -1))


async def say(network: Network, number: int, name: str = "talk", client: str = "me") -> TaskId:
    return await network.submit(prefixes=turn(number, name), client=client)


async def holder(network: Network, task: TaskId) -> str | None:
    view = await network.tasks.read(task)
    return view.node if view.state in ("assigned", "running") else None


async def answered(network: Network, task: TaskId) -> str:
    node = await holder(network, task)
    assert node is not None
    await network.complete(f"{task}#{(await network.tasks.read(task)).attempt}", node)
    return node


async def two_nodes(network: Network, slots: int = 1) -> tuple[str, str]:
    return await network.sign_in(1, slots=slots), await network.sign_in(2, slots=slots)


async def test_every_turn_goes_to_the_node_of_the_one_before(network: Network) -> None:
    await two_nodes(network, slots=8)
    home = {}
    for name in ("a", "b", "c", "d"):
        task = await say(network, 1, name)
        home[name] = await holder(network, task)
    assert len(set(home.values())) == 2
    for number in (2, 3, 4):
        for name in ("a", "b", "c", "d"):
            assert await holder(network, await say(network, number, name)) == home[name]


async def test_the_newest_turn_that_a_live_node_has_decides(network: Network) -> None:
    first, second = await two_nodes(network)
    await network.redis.set("relay:prefix:talk-1", first)
    await network.redis.set("relay:prefix:talk-2", second)
    await network.redis.set("relay:prefix:talk-3", node_address(9))
    for number in (4, 5):
        task = await say(network, number)
        assert await holder(network, task) == second
        await answered(network, task)


async def test_who_is_busy_is_waited_for_while_others_are_free(network: Network) -> None:
    await two_nodes(network)
    first = await say(network, 1)
    node = await holder(network, first)
    task = await say(network, 2)
    place = (await network.tasks.read(task)).queue
    assert place is not None
    assert place == Place(1, "slot", place.expected_wait_seconds)
    assert place.expected_wait_seconds == pytest.approx(3600, abs=30)
    await answered(network, first)
    assert await holder(network, task) == node
    assert await network.redis.exists("relay:patient", f"relay:wants:{node}") == 0


async def test_patience_ends_and_anybody_has_the_task(network: Network) -> None:
    await two_nodes(network)
    first = await say(network, 1)
    task = await say(network, 2)
    await network.end_patience()
    assert await holder(network, task) not in (None, await holder(network, first))


async def test_a_wait_is_short(redis: Redis) -> None:
    network = Network(redis)
    await two_nodes(network)
    first = await say(network, 1)
    task = await say(network, 2)
    now = (await redis.time())[0]
    assert now - 60 < (await redis.zscore("relay:patient", task) or 0) / 1000 < now + 2
    assert await holder(network, first)


@pytest.mark.parametrize(("seconds", "slots", "waits"), [(1, 1, True), (3, 1, False), (3, 2, True), (5, 2, False)])
async def test_who_will_be_busy_for_longer_is_not_waited_for(
    redis: Redis, seconds: int, slots: int, waits: bool
) -> None:
    network = Network(redis, Policy(affinity_wait=timedelta(seconds=2)))
    node = await network.sign_in(1, slots=slots)
    first = await say(network, 1)
    assigned = int(await redis.hget(f"relay:task:{first}", "assigned_ms") or 0)
    await redis.hset(f"relay:task:{first}", "assigned_ms", assigned - seconds * 1000)
    await answered(network, first)
    for _ in range(slots):
        await say(network, 2, "another")
    other = await network.sign_in(2, slots=1)
    assert await holder(network, await say(network, 2)) == (None if waits else other)
    assert len(await network.held(node)) == slots


async def test_without_another_free_node_it_waits_in_line_like_all(network: Network) -> None:
    node = await network.sign_in(1, slots=1)
    first = await say(network, 1)
    other = await network.submit(client="you")
    task = await say(network, 2)
    assert await network.redis.zrange(f"relay:line:{MODEL}", 0, -1) == [other.encode(), task.encode()]
    assert await answered(network, first) == node
    # one round, and it is this node that has the conversation
    assert await holder(network, task) == node


async def test_in_line_nobody_is_passed_by_more_than_his_round(network: Network) -> None:
    await network.sign_in(1, slots=1)
    first = await say(network, 1)
    other = await network.submit(client="you")
    mine = [await say(network, 2, client="me") for _ in range(4)]
    began = []
    task = first
    for _ in range(5):
        await answered(network, task)
        [task] = [each for each in (*mine, other) if await holder(network, each)]
        began.append(task)
    assert began == [mine[0], other, *mine[1:]]


async def test_in_line_nobody_passes_one_that_has_lost_its_node(network: Network) -> None:
    node, other = await two_nodes(network)
    first = await say(network, 1)
    node, other = (node, other) if await holder(network, first) == node else (other, node)
    lost = await network.submit(client="you")
    assert await holder(network, lost) == other
    waiting = [await network.submit(client=client) for client in ("a", "b")]
    mine = await say(network, 2)
    assert await network.redis.zrange(f"relay:line:{MODEL}", 0, -1) == [task.encode() for task in (*waiting, mine)]
    await network.redis.hset(f"relay:pace:line:{MODEL}", "tag", 1)  # as if their round had begun
    await network.silence(other)
    for task in waiting:
        await network.tasks.cancel(task, "guest")
    await answered(network, first)
    assert await holder(network, lost) == node


async def test_no_more_wait_for_a_node_than_it_has_slots(network: Network) -> None:
    await two_nodes(network)
    first = await say(network, 1)
    node = await holder(network, first)
    await say(network, 2)
    third = await say(network, 2)
    assert await holder(network, third) not in (None, node)
    assert await network.redis.zcard("relay:patient") == 1


@pytest.mark.parametrize("end", ["die", "leave", "drain", "cancel", "deadline"])
async def test_nobody_is_stranded(network: Network, end: str) -> None:
    await two_nodes(network)
    first = await say(network, 1)
    node = await holder(network, first)
    task = await say(network, 2)
    assert node is not None
    match end:
        case "die":
            await network.silence(node)
        case "leave":
            await network.leave(node)
        case "drain":
            await network.beat(node, f"{first}#1", draining=True)
        case "cancel":
            await network.tasks.cancel(task, "guest")
        case "deadline":
            await network.redis.zadd("relay:deadlines", {task: 0})
            await network.tasks.sweep()
    await network.end_patience()
    view = await network.tasks.read(task)
    if end in ("cancel", "deadline"):
        assert view.status == "failed"
    else:
        assert view.node != node
        others = {await holder(network, first), await holder(network, task)}
        assert others - {None, node} or end == "drain"
    assert await network.redis.keys("relay:wants:*") + await network.redis.keys("relay:patient") == []


async def test_a_node_that_serves_other_models_by_now_is_given_none_of_this_one(network: Network) -> None:
    node = await network.sign_in(1, slots=1)
    await say(network, 1)
    other = await network.sign_in(2, slots=2)
    task = await say(network, 2)
    assert await holder(network, task) is None
    await network.sign_in(1, slots=4, models=("relay/other",))
    assert await network.held(node) == set()
    await network.end_patience()
    assert await holder(network, task) == other


async def test_who_failed_at_a_turn_is_not_asked_again(network: Network) -> None:
    await two_nodes(network, slots=4)
    node = await answered(network, await say(network, 1))
    task = await say(network, 2)
    assert await holder(network, task) == node
    await network.end_lease(f"{task}#1")
    other = await holder(network, task)
    assert other not in (None, node)
    # and has the conversation from then on
    assert await holder(network, await say(network, 3)) == other


async def test_what_a_node_has_in_its_cache_is_forgotten(network: Network) -> None:
    await two_nodes(network)
    await say(network, 1)
    assert 590 < await network.redis.ttl("relay:prefix:talk-1") <= 600


async def test_it_can_be_turned_off(redis: Redis) -> None:
    network = Network(redis, replace(PATIENCE, affinity_ttl=timedelta(0)))
    await two_nodes(network, slots=8)
    await say(network, 1)
    assert await holder(network, await say(network, 2)) is not None
    assert await redis.keys("relay:prefix:*") == []
