"""Whom the scripts trust no longer, for how long, and what makes them trust it again."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from coordinator.lifecycle.task import TaskState
from coordinator.protocol.session import NoWork
from tests.unit.store.ageing import age, condition, standing, suspended_for
from tests.unit.store.network import Network, node_address
from tests.unit.store.work import break_down, fails, give_up, run_all


@pytest.mark.parametrize("at_once", [1, 8])
async def test_a_broken_node_of_three_hardly_gets_anything(network: Network, at_once: int) -> None:
    nodes = [await network.sign_in(number, slots=4) for number in (1, 2, 3)]
    broken, tasks, had = nodes[0], [], Counter[str]()

    async def work(node: str, attempt: str) -> None:
        await (fails(network, node, attempt) if node == broken else network.complete(attempt, node))

    for _ in range(100 // at_once):
        tasks += [await network.submit() for _ in range(at_once)]
        had += await run_all(network, nodes, work)
    assert 1 <= had[broken] <= 8
    assert [await network.state(task) for task in tasks] == [TaskState.COMPLETED] * len(tasks)


async def test_five_in_a_row_suspend_a_node_for_a_while_and_then_it_is_tried_one_at_a_time(network: Network) -> None:
    node = await network.sign_in(1, slots=2)
    await break_down(network, node, 4)
    assert await condition(network, node) == "good"
    await break_down(network, node, 1)
    waiting = [await network.submit() for _ in range(5)]  # not refused: a first suspension is short
    reply = await network.beat(node)
    assert (reply.no_work, await network.held(node)) == (NoWork.SUSPENDED, set())
    assert [await network.state(task) for task in waiting] == [TaskState.WAITING] * 5

    await age(network, node, timedelta(seconds=29))
    assert (await network.beat(node)).no_work is NoWork.SUSPENDED
    await age(network, node, timedelta(seconds=2))
    assert (await network.beat(node)).no_work is NoWork.PROBATION
    for task in waiting[:3]:
        assert await network.held(node) == {f"{task}#1"}
        await network.complete(f"{task}#1", node)
    assert await network.held(node) == {f"{task}#1" for task in waiting[3:]}
    assert await condition(network, node) == "good"


async def test_one_that_goes_wrong_on_probation_suspends_it_for_longer_each_time(network: Network) -> None:
    for number in (2, 3):  # most of the network stays: see the next test
        await network.sign_in(number, slots=1)
        await network.submit()
    node = await network.sign_in(1, slots=1)
    await break_down(network, node)
    pauses = []
    for _ in range(7):
        left = await suspended_for(network, node)
        pauses.append(round(left.total_seconds(), -1))
        await age(network, node, left)
        task = await network.submit()
        await network.beat(node)
        assert await network.held(node) == {f"{task}#1"}
        await fails(network, node, f"{task}#1")
        await give_up(network, task)
    assert pauses == [30, 60, 120, 240, 480, 900, 900]


async def test_no_suspension_is_long_where_half_of_a_models_nodes_are_out(network: Network) -> None:
    """It may be the requests, or us; and the only node of an operator is soon back. So none later is longer for it."""
    node = await network.sign_in(1, slots=1)
    await break_down(network, node)
    for others in ((), (), (2, 3)):
        for number in others:
            await network.sign_in(number, slots=1)
            await network.submit()
        await age(network, node, await suspended_for(network, node))
        task = await network.submit()
        await network.beat(node)
        await fails(network, node, f"{task}#1")
        await give_up(network, task)
        assert timedelta(seconds=20) < await suspended_for(network, node) <= timedelta(seconds=30)


async def test_a_long_suspension_is_cut_short_when_the_others_are_gone(network: Network) -> None:
    """Nobody waits a quarter of an hour for a node that nobody else stands in for."""
    for number in (2, 3):
        await network.sign_in(number, slots=1)
        await network.submit()
    node = await network.sign_in(1, slots=1)
    await break_down(network, node)
    await age(network, node, timedelta(minutes=-10))
    await network.beat(node)
    assert await suspended_for(network, node) > timedelta(minutes=9)
    for number in (2, 3):
        await network.leave(node_address(number))
    await network.beat(node)
    assert timedelta(seconds=20) < await suspended_for(network, node) <= timedelta(seconds=30)


async def test_most_of_the_recent_is_enough_and_what_is_long_past_is_not(network: Network) -> None:
    node = await network.sign_in(1, slots=1)

    async def alternate() -> None:
        await break_down(network, node, 2)
        task = await network.submit()
        await network.complete(f"{task}#1", node)

    await alternate()
    await alternate()
    await age(network, node, timedelta(hours=1))
    await alternate()
    assert await condition(network, node) == "good"
    await alternate()
    await break_down(network, node, 1)
    assert await condition(network, node) == "suspended"


async def test_a_long_good_record_does_not_cover_a_node_that_mostly_fails_now(network: Network) -> None:
    node = await network.sign_in(1, slots=1)

    async def does_well(times: int) -> None:
        for _ in range(times):
            await network.complete(f"{await network.submit()}#1", node)

    await does_well(100)
    for _ in range(3):  # half of the time is not most of it
        await break_down(network, node, 2)
        await does_well(2)
    assert await condition(network, node) == "good"
    attempts = 0
    while await condition(network, node) == "good":
        await (does_well(1) if attempts % 4 == 3 else break_down(network, node, 1))
        attempts += 1
    assert attempts <= 40


async def test_signing_in_anew_changes_nothing_and_neither_does_another_key(network: Network) -> None:
    node = await network.sign_in(1, gpus=("GPU-1", "GPU-2"))
    await break_down(network, node)
    await network.sign_in(1, gpus=("GPU-2", "GPU-1"))
    assert (await network.beat(node)).no_work is NoWork.SUSPENDED
    other = await network.sign_in(2, gpus=("GPU-2",))
    assert (await network.beat(other)).no_work is NoWork.SUSPENDED
    stranger = await network.sign_in(3, gpus=("GPU-3",))
    task = await network.submit()
    assert await network.held(stranger) == {f"{task}#1"}


async def test_a_known_key_on_other_gpus_shows_itself_first(network: Network) -> None:
    node = await network.sign_in(1, slots=4)
    await network.sign_in(1, slots=4, gpus=("GPU-1",))  # it said nothing of its hardware before
    assert await condition(network, node) == "good"
    await network.sign_in(1, slots=4, gpus=("GPU-2",))
    first, *rest = [await network.submit() for _ in range(4)]
    assert await network.held(node) == {f"{first}#1"}
    for task in (first, *rest[:2]):
        await network.complete(f"{task}#1", node)
    assert await condition(network, node) == "good"
    again = await network.sign_in(2, slots=4, gpus=("GPU-2",))
    assert await condition(network, again) == "good"


async def test_what_was_given_before_a_suspension_says_nothing_of_what_comes_after(network: Network) -> None:
    node = await network.sign_in(1, slots=8)
    tasks = [await network.submit(client=f"client {number}") for number in range(8)]
    for task in tasks[:6]:
        await fails(network, node, f"{task}#1")
    assert await condition(network, node) == "suspended"
    await age(network, node, await suspended_for(network, node))
    await network.beat(node, *await network.held(node))
    await network.complete(f"{tasks[6]}#1", node)
    await fails(network, node, f"{tasks[7]}#1")
    assert (await condition(network, node), (await standing(network, node))["well"]) == ("probation", 0)


async def test_a_retry_does_not_wait_for_a_suspended_node(network: Network) -> None:
    out = await network.sign_in(1, slots=1)
    await break_down(network, out)
    node = await network.sign_in(2, slots=1)
    task = await network.submit()
    await fails(network, node, f"{task}#1")
    assert await network.held(node) == {f"{task}#2"}


async def test_operators_hear_of_a_suspension_once(network: Network) -> None:
    node = await network.sign_in(1)
    await break_down(network, node, 4)
    await fails(network, node, f"{await network.submit()}#1")
    [notice] = (await network.tasks.sweep()).notices
    assert notice == {"event": "node_suspended", "node": node, "ms": 30000, "why": "fault"}
    assert (await network.tasks.sweep()).notices == []
