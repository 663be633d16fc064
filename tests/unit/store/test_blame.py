"""What a node is blamed for, and what it is not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from coordinator.lifecycle.task import TaskState
from coordinator.protocol.ids import TaskId
from tests.unit.store.ageing import condition, outage, took
from tests.unit.store.network import Network
from tests.unit.store.work import BROKEN, SLOW, break_down, counts, fails, run_all


async def test_clients_faults_and_what_is_handed_back_or_cancelled_count_for_nobody(network: Network) -> None:
    node = await network.sign_in(1)
    for how in ["refused", "handed_back"] * 10:
        task = await network.submit()
        assert await network.fail(f"{task}#1", node, how) is None  # type: ignore[arg-type]
        await network.beat(node)
        await network.tasks.cancel(task, "guest")
    assert await counts(network, node) == (0, 0, 0)


async def test_a_model_servers_timeout_counts_as_one(network: Network) -> None:
    node = await network.sign_in(1)
    await break_down(network, node, 2, SLOW)
    await break_down(network, node, 1)
    assert await counts(network, node) == (0, 1, 2)


async def test_a_silence_counts_once_however_much_was_in_hand(network: Network) -> None:
    node = await network.sign_in(1, slots=8)
    for _ in range(8):
        await network.submit()
    await network.silence(node)
    assert await counts(network, node) == (0, 0, 1)


async def test_an_outage_of_ours_counts_against_nobody(network: Network) -> None:
    node = await network.sign_in(1, slots=8)
    tasks = [await network.submit() for _ in range(8)]
    await network.beat(node, *(f"{task}#1" for task in tasks))
    await outage(network, timedelta(minutes=4))
    assert (await network.tasks.sweep()).lost == []
    await network.beat(node, *(f"{task}#1" for task in tasks))
    assert (await network.tasks.sweep()).lost == []
    for task in tasks:
        assert await network.complete(f"{task}#1", node) is None
    assert await counts(network, node) == (8, 0, 0)


async def test_what_fails_everywhere_is_perhaps_the_requests_doing(network: Network) -> None:
    nodes = [await network.sign_in(number) for number in (1, 2, 3)]

    async def work(node: str, attempt: str) -> None:
        await fails(network, node, attempt)

    for _ in range(20):
        task = await network.submit()
        await run_all(network, nodes, work)
        assert await network.state(task) is TaskState.FAILED
    assert [await condition(network, node) for node in nodes] == ["good"] * 3


@pytest.mark.parametrize("others", [0, 5])
async def test_one_bad_request_sent_many_times_at_once_suspends_nobody(network: Network, others: int) -> None:
    """Whatever it does to them; and another client's tasks are served meanwhile."""
    nodes = [await network.sign_in(number, slots=8) for number in (1, 2, 3)]
    bad, good = [], []

    async def work(node: str, attempt: str) -> None:
        await (fails(network, node, attempt) if attempt.partition("#")[0] in bad else network.complete(attempt, node))

    for _ in range(2):
        bad += [await network.submit(client="hostile") for _ in range(32)]
        good += [await network.submit(client="other") for _ in range(others)]
        await run_all(network, nodes, work)
        assert [await condition(network, node) for node in nodes] == ["good"] * 3
    assert {await network.state(task) for task in bad} == {TaskState.FAILED}
    assert [await network.state(task) for task in good] == [TaskState.COMPLETED] * len(good)


async def test_who_asks_for_more_than_an_attempt_has_time_for_suspends_nobody(network: Network) -> None:
    nodes = [await network.sign_in(number, slots=1) for number in (1, 2, 3)]
    for _ in range(8):
        task = await network.submit()
        for number in (1, 2):
            await took(network, f"{task}#{number}", timedelta(seconds=301))
            assert (await network.end_lease(f"{task}#{number}")).lost == [f"{task}#{number}"]
        await network.redis.zadd("relay:deadlines", {task: 0})
        assert (await network.tasks.sweep()).given_up == [task]
    assert sum([(await counts(network, node))[2] for node in nodes]) == 0


async def test_who_takes_his_tasks_back_once_they_have_failed_suspends_nobody(network: Network) -> None:
    node = await network.sign_in(1, slots=1)
    for _ in range(8):
        task = await network.submit()
        await fails(network, node, f"{task}#1")
        await network.tasks.cancel(task, "guest")
    assert (await condition(network, node), await counts(network, node)) == ("good", (0, 0, 0))


async def test_a_node_that_blames_clients_whom_others_serve_is_noticed(network: Network) -> None:
    nodes = [await network.sign_in(number, slots=20) for number in (1, 2, 3)]
    liar = nodes[0]

    async def work(node: str, attempt: str) -> None:
        if node == liar:
            task, _, number = attempt.rpartition("#")
            await network.tasks.give_up_attempt(TaskId(task), int(number), node, "refused", BROKEN)
        else:
            await network.complete(attempt, node)

    for number in range(60):
        await network.submit(caller=f"key_{number}")
        if number % 15 == 14:
            await run_all(network, nodes, work)
    assert await condition(network, liar) == "suspended"
    said = [line["event"] for line in (await network.tasks.sweep()).notices]
    assert said.count("node_suspended") == 1
    assert "node_refuses_much" in said


async def test_one_client_that_is_always_wrong_has_no_node_suspended(network: Network) -> None:
    nodes = [await network.sign_in(number, slots=20) for number in (1, 2)]
    for _ in range(30):
        await network.submit(caller="key_good")
        await network.submit(caller="key_bad")

    async def work(node: str, attempt: str) -> None:
        task, _, number = attempt.rpartition("#")
        if await network.redis.hget(f"relay:task:{task}", "caller") == b"key_bad" and node == nodes[0]:
            await network.tasks.give_up_attempt(TaskId(task), int(number), node, "refused", BROKEN)
        else:
            await network.complete(attempt, node)

    await run_all(network, nodes, work)
    assert [await condition(network, node) for node in nodes] == ["good", "good"]
