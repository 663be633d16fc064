"""Whom the scripts trust with how much work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from coordinator.errors import UpstreamError, UpstreamTimeout
from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.task import TaskState
from coordinator.protocol.ids import TaskId
from coordinator.protocol.session import NoWork
from tests.unit.store.ageing import age, age_model, condition, outage, standing, suspended_for, took
from tests.unit.store.network import MODEL, Network, node_address

BROKEN = UpstreamError("broken")
SLOW = UpstreamTimeout("slow")
Work = Callable[[str, str], Awaitable[None]]


async def run_all(network: Network, nodes: list[str], work: Work) -> Counter[str]:
    """Until nobody holds anything: the attempts that each node had."""
    had: Counter[str] = Counter()
    while held := [(node, attempt) for node in nodes for attempt in sorted(await network.held(node))]:
        for node, attempt in held:
            had[node] += 1
            await work(node, attempt)
    return had


async def fails(network: Network, node: str, attempt: str, error: UpstreamError | UpstreamTimeout = BROKEN) -> None:
    task, _, number = attempt.rpartition("#")
    assert await network.tasks.give_up_attempt(TaskId(task), int(number), node, "fault", error) is None


async def give_up(network: Network, task: TaskId) -> None:
    await network.redis.zadd("relay:deadlines", {task: 0})
    await network.sweep()


async def break_down(network: Network, node: str, times: int = 5, error: UpstreamError = BROKEN) -> None:
    """The node alone: each task's first attempt goes wrong, and its time is up before the next."""
    for _ in range(times):
        task = await network.submit()
        assert await network.held(node) == {f"{task}#1"}
        await fails(network, node, f"{task}#1", error)
        await give_up(network, task)


async def counts(network: Network, node: str) -> tuple[int, int, int]:
    seen = await standing(network, node)
    return round(seen["successes"]), round(seen["faults"]), round(seen["timeouts"])


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
