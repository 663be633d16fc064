"""Whom the scripts trust with how much work, by what it has done."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from coordinator.lifecycle.policy import Policy
from coordinator.protocol.session import NoWork
from tests.unit.store.ageing import age, age_model, suspended_for, took
from tests.unit.store.network import MODEL, Network, node_address
from tests.unit.store.work import break_down, run_all


async def test_a_key_that_nobody_knows_gets_more_as_its_answers_come(network: Network) -> None:
    """Whatever it claims: who takes a flood and is silent delays a few. What it has earned fades as its record does."""
    untried = network.policy.untried
    node = await network.sign_in(1, slots=100)
    tasks = [await network.submit() for _ in range(untried + 30)]
    assert await network.held(node) == {f"{task}#1" for task in tasks[:untried]}
    assert (await network.beat(node)).no_work is NoWork.UNTRIED
    for number, task in enumerate(tasks[:10], 1):
        await network.complete(f"{task}#1", node)
        assert len(await network.held(node)) == untried + number, "its place, and one more"
    for task in tasks[10:25]:
        await network.complete(f"{task}#1", node)
    assert len(await network.held(node)) == len(tasks) - 25, "all there are"
    assert (await network.beat(node)).no_work is NoWork.NO_DEMAND
    await age(network, node, timedelta(hours=2))
    assert (await network.beat(node)).no_work is NoWork.UNTRIED
    await network.submit()
    assert len(await network.held(node)) == len(tasks) - 25, "more than nobody knows it for"


async def test_a_node_with_few_slots_has_all_of_them_from_the_start(network: Network) -> None:
    node = await network.sign_in(1, slots=3)
    for _ in range(5):
        await network.submit()
    assert len(await network.held(node)) == 3
    assert (await network.beat(node)).no_work is NoWork.FULL


async def test_the_fast_node_gets_more_than_the_slow_one_until_that_is_long_past(network: Network) -> None:
    fast, slow = nodes = [await network.sign_in(number, slots=4) for number in (1, 2)]

    async def work(node: str, attempt: str) -> None:
        await took(network, attempt, timedelta(milliseconds=100 if node == fast else 1000))
        await network.complete(attempt, node)

    had: Counter[str] = Counter()
    for _ in range(40):
        await network.submit()
        had += await run_all(network, nodes, work)
    assert had[fast] >= 30
    assert had[slow] >= 1
    await age_model(network, MODEL, timedelta(hours=1))
    for node in nodes:
        await age(network, node, timedelta(hours=1))
        await network.beat(node)
    later: Counter[str] = Counter()
    for _ in range(4):
        await network.submit()
        later += await run_all(network, nodes, work)
    assert later[slow] >= 1


async def test_of_busy_nodes_the_fast_one_turns_out_more(network: Network) -> None:
    """Time is counted in rounds of 100 ms: the slow node answers every tenth."""
    fast, slow = [await network.sign_in(number, slots=2) for number in (1, 2)]
    done: Counter[str] = Counter()
    for round_ in range(60):
        await network.submit()
        for node, every in ((fast, 1), (slow, 10)):
            if round_ % every == 0:
                for attempt in await network.held(node):
                    await took(network, attempt, timedelta(milliseconds=100 * every))
                    await network.complete(attempt, node)
                    done[node] += 1
    assert done[fast] > 3 * done[slow] > 0
    assert sum(done.values()) >= 55


async def test_equal_nodes_take_turns(network: Network) -> None:
    """Equal they are beside what this machine's own pauses add to their times."""
    nodes = [await network.sign_in(number, slots=4) for number in (1, 2, 3)]

    async def work(node: str, attempt: str) -> None:
        await took(network, attempt, timedelta(seconds=20))
        await network.complete(attempt, node)

    had: Counter[str] = Counter()
    for _ in range(9):
        await network.submit()
        had += await run_all(network, nodes, work)
    assert had == dict.fromkeys(nodes, 3)


async def test_speed_is_what_we_saw_and_a_newcomer_is_as_good_as_the_mean(network: Network) -> None:
    node = await network.sign_in(1)
    task = await network.submit()
    await took(network, f"{task}#1", timedelta(seconds=5))
    await network.complete(f"{task}#1", node)  # 4 tokens
    speed = (await network.nodes.standing(node)).speeds[MODEL]
    assert 4_990 <= (speed.first_token_ms or 0) <= 7_000
    assert 0.55 <= (speed.tokens_per_second or 0) <= 0.82
    newcomer = await network.sign_in(2)
    await network.submit()
    assert len(await network.held(newcomer)) == 1


async def test_standing_outlives_a_session_and_is_kept_for_a_month(redis: object) -> None:
    network = Network(redis, Policy(breaker_bad=1))  # type: ignore[arg-type]
    node = await network.sign_in(1)
    await break_down(network, node, 1)
    await network.leave(node)
    assert 29 * 86400 < await network.redis.ttl(f"relay:standing:{node}") <= 30 * 86400
    await network.sign_in(1)
    assert (await network.beat(node)).no_work is NoWork.SUSPENDED
    assert node == node_address(1)


async def test_a_node_can_read_where_it_stands(network: Network) -> None:
    node = await network.sign_in(1)
    task = await network.submit()
    await took(network, f"{task}#1", timedelta(seconds=5))
    await network.complete(f"{task}#1", node)
    seen = await network.nodes.standing(node)
    assert (seen.signed_in, seen.condition, seen.suspended_ms, seen.successes) == (True, "good", None, 1)
    assert seen.speeds[MODEL].tokens_per_second == pytest.approx(0.8, rel=0.3)
    assert seen.speeds[MODEL].first_token_ms == pytest.approx(5_000, rel=0.3)
    await break_down(network, node)
    await network.leave(node)
    seen = await network.nodes.standing(node)
    assert (seen.signed_in, seen.condition, seen.faults) == (False, "suspended", 5)
    assert seen.suspended_ms == pytest.approx(30_000, abs=9000)
    await age(network, node, await suspended_for(network, node))
    assert (await network.nodes.standing(node)).condition == "probation"
    assert (await network.nodes.standing(node_address(2))).successes == 0
