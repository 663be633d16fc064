"""Whose turn it is: fair between clients, bounded, honest about how long it takes; in counts of starts, not in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from statistics import median
from typing import Any

import pytest
from redis.asyncio import Redis

from coordinator.errors import CapacityExhausted, UpstreamError
from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.task import Place
from coordinator.protocol.ids import TaskId
from coordinator.store.direct import DirectLine
from coordinator.store.signals import Signals
from tests.unit.store.network import MODEL, Network

OTHER = "relay/other"
FAULT = UpstreamError("broken")


async def starts(network: Network, node: str, most: int = 1_000_000) -> list[TaskId]:
    """Answers what the node has, one after the other, until there is nothing left; in the order in which they began."""
    began: list[TaskId] = []
    while len(began) < most and (envelopes := await network.envelopes(node)):
        for envelope in envelopes:
            task = TaskId(str(envelope["task_id"]))
            began.append(task)
            await network.complete(f"{task}#{envelope['attempt']}", node)
    return began


async def submit(network: Network, client: str, count: int, model: str = MODEL) -> list[TaskId]:
    return [await network.submit(client=client, model=model) for _ in range(count)]


def waits(began: Sequence[TaskId], tasks: Sequence[TaskId], busy: int) -> list[int]:
    """How many starts each of them waited for, those counted that were there before it."""
    return [began.index(task) + 1 - busy for task in tasks]


async def bystander(network: Network, flood: int, slots: int = 4) -> float:
    """The median wait of a client that sends 20 tasks at once to a busy node, in starts."""
    node = await network.sign_in(1, slots=slots)
    await submit(network, "loud", slots)
    for _ in range(0, flood, 50):
        await asyncio.gather(*(network.submit(client="loud") for _ in range(50)))
    tasks = await submit(network, "quiet", 20)
    return median(waits(await starts(network, node, slots + 2 * len(tasks)), tasks, slots))


async def test_a_flood_at_most_doubles_the_wait_of_another(
    network: Network, fresh: Callable[[], Awaitable[Network]], flood: int
) -> None:
    alone = await bystander(network, 0)
    assert alone == 10.5
    assert await bystander(await fresh(), flood) <= 2 * alone


async def test_a_single_task_waits_for_one_of_a_flood(network: Network) -> None:
    node = await network.sign_in(1, slots=1)
    flood = await submit(network, "loud", 50)
    [single] = await submit(network, "quiet", 1)
    assert (await starts(network, node, 3)) == [flood[0], flood[1], single]


async def test_between_two_starts_everybody_gets_a_turn_the_oldest_first(network: Network) -> None:
    node = await network.sign_in(1, slots=1)
    a, b, c = [await submit(network, client, 3) for client in ("a", "b", "c")]
    # b's and c's first ones have waited through a round that a alone had
    assert await starts(network, node) == [a[0], a[1], b[0], c[0], a[2], b[1], c[1], b[2], c[2]]


async def test_who_comes_back_gets_no_turns_for_those_he_missed(network: Network) -> None:
    node = await network.sign_in(1, slots=1)
    loud = await submit(network, "loud", 10)
    assert await starts(network, node, 5) == loud[:5]
    quiet = await submit(network, "quiet", 3)
    assert await starts(network, node) == [loud[5], loud[6], quiet[0], loud[7], quiet[1], loud[8], quiet[2], loud[9]]


async def test_who_cancelled_his_flood_waits_no_longer_for_it(network: Network) -> None:
    node = await network.sign_in(1, slots=1)
    busy, *waiting = await submit(network, "loud", 10)
    others = await submit(network, "quiet", 3)
    for task in waiting:
        await network.tasks.cancel(task, "guest")
    [again] = await submit(network, "loud", 1)
    assert await starts(network, node) == [busy, others[0], again, *others[1:]]


async def test_a_task_that_lost_its_node_is_first_whoevers_it_is(network: Network) -> None:
    first, second = await network.sign_in(1, slots=1), await network.sign_in(2, slots=1)
    lost, busy = await submit(network, "loud", 2)
    await submit(network, "loud", 3), await submit(network, "quiet", 3)
    holder, other = (first, second) if await network.held(first) == {f"{lost}#1"} else (second, first)
    await network.silence(holder)
    await network.complete(f"{busy}#1", other)
    assert await network.held(other) == {f"{lost}#2"}


async def test_a_task_that_waited_before_it_lost_its_node_is_first_too(network: Network) -> None:
    node = await network.sign_in(1, slots=1)
    first, second, third, fourth = await submit(network, "loud", 4)
    [quiet] = await submit(network, "quiet", 1)
    await network.complete(f"{first}#1", node)
    await network.silence(node)
    assert await starts(network, await network.sign_in(2, slots=1)) == [second, quiet, third, fourth]


async def test_a_node_that_is_back_is_not_idle_because_it_has_had_the_first_in_line(network: Network) -> None:
    """They wait for another node; those behind them need not."""
    big = await network.sign_in(1, slots=30)
    await submit(network, "loud", 30)
    small = await network.sign_in(2, slots=1)
    await submit(network, "loud", 1)
    await network.silence(big)
    await network.sign_in(1, slots=30)
    assert await network.held(big) == set()
    behind = await submit(network, "quiet", 2)
    assert await network.held(big) == {f"{task}#1" for task in behind}
    assert len(await network.held(small)) == 1


async def test_what_a_node_lost_it_gets_again_where_the_others_have_no_room_for_long(network: Network) -> None:
    """It is back, and idle; what it failed it does not get again."""
    big = await network.sign_in(1, slots=4)
    _, failed, *_ = attempts = [f"{task}#1" for task in await submit(network, "loud", 4)]
    small = await network.sign_in(2, slots=1)
    await submit(network, "loud", 1)
    await network.fail(failed, big)
    await network.silence(big)
    await network.sign_in(1, slots=4)
    assert await network.held(big) == set()
    for attempt in attempts:
        task = attempt.partition("#")[0]
        if had := await network.redis.hget(f"relay:task:{task}", "lost_ms"):
            await network.redis.hset(f"relay:task:{task}", "lost_ms", int(had) - 10_000)
    await network.beat(big)
    assert await network.held(big) == {attempt.replace("#1", "#2") for attempt in attempts if attempt != failed}
    assert len(await network.held(small)) == 1


async def test_a_flood_of_one_model_does_not_stall_another_on_the_same_node(network: Network) -> None:
    node = await network.sign_in(1, slots=1, models=(MODEL, OTHER))
    flood = await submit(network, "loud", 20)
    others = await submit(network, "quiet", 3, OTHER)
    began = await starts(network, node, 7)
    assert [task for task in began if task in others] == others
    assert began[0] == flood[0]


async def test_asynchronous_direct_tasks_take_turns_too(network: Network) -> None:
    line = DirectLine(network.scripts, Signals(network.redis))
    loud = [await network.submit(mode="direct", client="loud") for _ in range(5)]
    [quiet] = [await network.submit(mode="direct", client="quiet")]
    claims = [await line.claim() for _ in range(6)]
    assert [claim and claim.task_id for claim in claims] == [loud[0], quiet, *loud[1:]]


async def test_an_empty_line_leaves_nothing_of_its_clients(network: Network, redis: Redis) -> None:
    node = await network.sign_in(1, slots=1)
    await submit(network, "a", 3), await submit(network, "b", 3)
    assert await redis.exists(f"relay:tags:line:{MODEL}", f"relay:queued:line:{MODEL}") == 2
    await starts(network, node)
    assert await redis.keys("relay:tags:*") + await redis.keys("relay:queued:*") + await redis.keys("relay:line*") == []


# ── bounded ─────────────────────────────────────────────────────────────────


async def fill_up(network: Network, client: str) -> int:
    """How many tasks the line takes of one client."""
    for count in range(1_000):
        try:
            await network.submit(client=client)
        except CapacityExhausted:
            return count
    raise AssertionError("never full")


async def test_no_client_fills_a_line_alone(redis: Redis) -> None:
    network = Network(redis, Policy(max_line=40))
    await network.sign_in(1, slots=1)
    await network.submit()
    assert [await fill_up(network, client) for client in ("a", "b", "c", "d")] == [20, 10, 5, 3]
    assert await redis.zcard(f"relay:line:{MODEL}") < 40


async def test_who_is_refused_hears_when_there_will_be_a_place(redis: Redis) -> None:
    network = Network(redis, Policy(max_line=40))
    node = await network.sign_in(1, slots=1)
    await network.submit()
    assert await fill_up(network, "loud") == 20
    with pytest.raises(CapacityExhausted, match=r"no place for another task of yours\. Try again later") as unknown:
        await network.submit(client="loud")
    assert unknown.value.retry_after == timedelta(seconds=5)
    await one_start(network, node, seconds=30)
    await network.submit(client="loud")
    with pytest.raises(CapacityExhausted, match=r"expected to wait up to 6\d\d s\. Try again in 3\d s") as refused:
        await network.submit(client="loud")
    assert refused.value.retry_after.total_seconds() == pytest.approx(30, abs=5)  # type: ignore[union-attr]
    await one_start(network, node, seconds=100_000)
    await network.submit(client="loud")
    with pytest.raises(CapacityExhausted) as far:
        await network.submit(client="loud")
    assert far.value.retry_after == timedelta(hours=1)


async def since(redis: Redis, seconds: float) -> None:
    """As if the newest start, or the first to wait, had been so long ago."""
    now, microseconds = await redis.time()
    await redis.hset(f"relay:pace:line:{MODEL}", "since_ms", round((now - seconds) * 1000 + microseconds / 1000))


async def one_start(network: Network, node: str, seconds: float) -> None:
    """A start out of the line, as if the one before had been so long ago."""
    await since(network.redis, seconds)
    [attempt] = await network.held(node)
    await network.complete(attempt, node)


# ── how long ────────────────────────────────────────────────────────────────


async def expected(network: Network, task: TaskId) -> int | None:
    place = (await network.tasks.read(task)).queue
    assert place is not None
    return place.expected_wait_seconds


def about(*seconds: int) -> Any:
    """What a busy machine lets pass between a test's steps is counted as well."""
    return pytest.approx(seconds, abs=2)


async def test_the_wait_is_expected_by_the_pace_of_the_line(network: Network, redis: Redis) -> None:
    node = await network.sign_in(1, slots=1)
    tasks = await submit(network, "loud", 8)
    assert await expected(network, tasks[1]) is None
    await one_start(network, node, seconds=10)
    assert [await expected(network, task) for task in tasks[1:5]] == about(0, 10, 20, 30)
    await one_start(network, node, seconds=40)
    # the mean of 10 s and 40 s, of which the first counts less by now
    assert [await expected(network, tasks[3])] == about(28)
    # one that is late adds what it is late
    await since(redis, 60)
    assert [await expected(network, tasks[3])] == about(60)


async def test_what_the_line_does_while_nobody_waits_says_nothing(network: Network, redis: Redis) -> None:
    node = await network.sign_in(1, slots=1)
    await submit(network, "loud", 3)
    await one_start(network, node, seconds=10)
    await one_start(network, node, seconds=10)
    await since(redis, 3_600)  # an hour without a line
    [first] = await submit(network, "loud", 1)
    assert [await expected(network, first)] == about(10)
    await one_start(network, node, seconds=10)
    await submit(network, "loud", 1)
    [second] = await submit(network, "loud", 1)
    assert [await expected(network, second)] == about(20)


async def test_without_a_node_nobody_knows_how_long(network: Network) -> None:
    node = await network.sign_in(1, slots=1)
    tasks = await submit(network, "loud", 3)
    await one_start(network, node, seconds=10)
    await network.silence(node)
    assert (await network.tasks.read(tasks[2])).queue == Place(2, "node", None)
