"""An attempt's stages have deadlines of their own: taken, first token, all of it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.task import TaskState
from coordinator.protocol.envelope import BEAT, key_prefix, queue_name
from tests.unit.store.ageing import condition, outage, standing, took
from tests.unit.store.network import Network

SECOND = timedelta(seconds=1)


async def timeouts(network: Network, node: str) -> int:
    return round((await standing(network, node))["timeouts"])


async def asked_to_beat(network: Network, node: str) -> bool:
    queue = await network.redis.lrange(f"{key_prefix(node)}{queue_name(node)}", 0, -1)
    return BEAT in [json.loads(message)["headers"]["task"] for message in queue]


async def test_a_node_that_beats_without_naming_an_attempt_has_missed_it(network: Network) -> None:
    deaf, other = await network.sign_in(1, slots=1), await network.sign_in(2, slots=1)
    task = await network.submit()
    if not await network.held(deaf):
        deaf, other = other, deaf
    await took(network, f"{task}#1", 7 * SECOND)
    await network.beat(deaf)
    assert (await network.tasks.sweep()).lost == []
    await took(network, f"{task}#1", 9 * SECOND)
    await network.beat(deaf)
    assert (await network.tasks.sweep()).lost == [f"{task}#1"]
    assert (await network.held(other), await timeouts(network, deaf)) == ({f"{task}#2"}, 1)
    assert await asked_to_beat(network, deaf)
    assert (await network.beat(deaf, f"{task}#1")).cancelled == (f"{task}#1",)


async def test_a_silent_node_has_its_whole_lease(network: Network) -> None:
    node = await network.sign_in(1)
    task = await network.submit()
    await took(network, f"{task}#1", 9 * SECOND)
    assert (await network.tasks.sweep()).lost == []
    assert await network.held(node) == {f"{task}#1"}


async def test_a_first_token_is_waited_for_and_no_longer(network: Network) -> None:
    node = await network.sign_in(1)
    late, told = [f"{await network.submit(streams=True)}#1" for _ in range(2)]
    await network.beat(node, late, told, answering=(told,))
    for attempt in (late, told):
        await took(network, attempt, 29 * SECOND)
    await network.beat(node, late, told)
    assert (await network.tasks.sweep()).lost == []
    for attempt in (late, told):
        await took(network, attempt, 31 * SECOND)
    await network.beat(node, late, told)
    assert (await network.tasks.sweep()).lost == [late]
    assert await timeouts(network, node) == 1
    assert await asked_to_beat(network, node)


async def test_a_handful_without_a_first_token_suspends_a_node_whosever_they_were(network: Network) -> None:
    node = await network.sign_in(1, slots=8)
    attempts = [f"{await network.submit(streams=True)}#1" for _ in range(8)]
    await network.beat(node, *attempts)
    for attempt in attempts:
        await took(network, attempt, 31 * SECOND)
    await network.beat(node, *attempts)
    assert await condition(network, node) == "good"
    assert len((await network.sweep()).lost) == 8
    assert await condition(network, node) == "suspended"


async def test_a_handful_of_answers_that_are_too_long_may_be_one_clients_doing(network: Network) -> None:
    node = await network.sign_in(1, slots=8)
    attempts = [f"{await network.submit(streams=True)}#1" for _ in range(8)]
    await network.beat(node, *attempts, answering=tuple(attempts))
    for attempt in attempts:
        await took(network, attempt, 301 * SECOND)
    await network.beat(node, *attempts)
    assert len((await network.sweep()).lost) == 8
    assert (await condition(network, node), await timeouts(network, node)) == ("good", 8)


async def test_a_node_that_fell_silent_is_not_late_with_each_of_its_attempts(network: Network) -> None:
    node = await network.sign_in(1, slots=4)
    attempts = [f"{await network.submit(streams=True)}#1" for _ in range(4)]
    await network.beat(node, *attempts)
    for attempt in attempts:
        await took(network, attempt, 31 * SECOND)
    await network.redis.hset(f"relay:node:{node}", "seen_ms", str(round((network.now().timestamp() - 9) * 1000)))
    assert sorted((await network.silence(node)).lost) == sorted(attempts)
    assert await timeouts(network, node) == 1


async def test_what_nobody_streams_has_its_whole_time(network: Network) -> None:
    node = await network.sign_in(1)
    task = await network.submit()
    await took(network, f"{task}#1", 299 * SECOND)
    await network.beat(node, f"{task}#1")
    assert (await network.tasks.sweep()).lost == []
    await took(network, f"{task}#1", 301 * SECOND)
    await network.beat(node, f"{task}#1")
    assert (await network.tasks.sweep()).lost == [f"{task}#1"]
    assert await timeouts(network, node) == 1


def test_a_long_prompt_has_more_time() -> None:
    assert [Policy().first_token_within(size).total_seconds() for size in (0, 2000, 200_000)] == [30, 31, 130]


async def test_three_late_ones_end_a_task_as_a_timeout_and_silence_does_not(network: Network) -> None:
    node = await network.sign_in(1, slots=1)
    task = await network.submit(streams=True)
    for number in (1, 2, 3):
        await network.beat(node, f"{task}#{number}")
        await took(network, f"{task}#{number}", 31 * SECOND)
        await network.beat(node, f"{task}#{number}")
        await network.tasks.sweep()
    view = await network.tasks.read(task)
    assert (view.error_code, view.error_status, view.attempt) == ("UPSTREAM_TIMEOUT", 504, 3)

    task = await network.submit()
    for number in (1, 2, 3):
        await network.end_lease(f"{task}#{number}")
    view = await network.tasks.read(task)
    assert (view.error_code, view.error_status) == ("UPSTREAM_ERROR", 502)


@pytest.mark.parametrize("listed", [True, False])
async def test_after_an_outage_of_ours_a_stage_is_judged_a_lease_later(network: Network, listed: bool) -> None:
    node = await network.sign_in(1)
    task = await network.submit(streams=True)
    attempts = (f"{task}#1",) if listed else ()
    await network.beat(node, *attempts)
    await outage(network, timedelta(minutes=2))
    for _ in range(2):
        await network.beat(node, *attempts)
        assert (await network.tasks.sweep()).lost == []
    await network.redis.set("relay:excused_ms", "0")
    await network.beat(node, *attempts)
    assert (await network.tasks.sweep()).lost == [f"{task}#1"]


async def test_a_task_that_is_out_of_time_stops_at_its_node_and_blames_nobody(network: Network) -> None:
    node = await network.sign_in(1)
    task = await network.submit()
    await network.beat(node, f"{task}#1")
    await network.redis.zadd("relay:deadlines", {task: 0})
    assert (await network.tasks.sweep()).given_up == [task]
    assert (await network.state(task), await timeouts(network, node)) == (TaskState.FAILED, 0)
    assert await asked_to_beat(network, node)
