"""What the scripts promise about tasks and attempts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from coordinator.errors import CapacityExhausted, ProviderUnavailable, TaskExpired, TaskNotFound, UpstreamError
from coordinator.lifecycle.order import Order, Terms
from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.task import TaskState
from coordinator.protocol.envelope import Envelope, key_prefix, queue_name
from coordinator.protocol.ids import new_task_id
from coordinator.protocol.report import Refusal
from tests.unit.store.ageing import standing, took
from tests.unit.store.network import COMMITMENT, MODEL, REQUEST, Network

FAULT = UpstreamError("broken")


async def test_a_free_node_gets_the_task_at_once_with_the_exact_request(network: Network) -> None:
    node = await network.sign_in(1)
    task_id = await network.submit()
    [raw] = await network.envelopes(node)
    envelope = Envelope.model_validate(raw)
    assert (envelope.task_id, envelope.attempt, envelope.request.encode()) == (task_id, 1, REQUEST)
    assert envelope.salt == COMMITMENT.salt
    assert await network.state(task_id) is TaskState.ASSIGNED


async def test_what_no_live_node_serves_is_refused_and_not_stored(network: Network) -> None:
    await network.sign_in(1)
    with pytest.raises(ProviderUnavailable, match="other/model"):
        await network.submit(model="other/model")
    assert await network.redis.keys("relay:task:*") == []


async def test_the_line_is_bounded(redis: object) -> None:
    network = Network(redis, Policy(max_line=1))  # type: ignore[arg-type]
    await network.sign_in(1, slots=1)
    await network.submit()
    await network.submit()
    with pytest.raises(CapacityExhausted):
        await network.submit()


async def test_a_freed_slot_takes_the_oldest_waiting_task(network: Network) -> None:
    node = await network.sign_in(1, slots=1)
    first, second, third = [await network.submit() for _ in range(3)]
    assert [await network.state(task) for task in (first, second, third)] == ["assigned", "waiting", "waiting"]
    assert await network.complete(f"{first}#1", node) is None
    assert [await network.state(task) for task in (first, second, third)] == ["completed", "assigned", "waiting"]


async def test_the_less_loaded_node_is_chosen(network: Network) -> None:
    big, small = await network.sign_in(1, slots=8), await network.sign_in(2, slots=2)
    for _ in range(5):
        await network.submit()
    assert (len(await network.held(big)), len(await network.held(small))) == (4, 1)


async def test_a_lost_lease_goes_to_another_node_first_in_line(network: Network) -> None:
    first = await network.sign_in(1, slots=1)
    task, later = await network.submit(), await network.submit()
    second = await network.sign_in(2, slots=1)
    assert await network.held(second) == {f"{later}#1"}
    swept = await network.silence(first)
    assert (swept.lost, swept.dead) == ([f"{task}#1"], [first])
    assert await network.state(task) is TaskState.WAITING
    await network.complete(f"{later}#1", second)
    assert await network.held(second) == {f"{task}#2"}


async def test_a_late_report_changes_nothing(network: Network) -> None:
    first, second = await network.sign_in(1), await network.sign_in(2)
    task = await network.submit()
    holder, other = (first, second) if await network.held(first) else (second, first)
    await network.end_lease(f"{task}#1")
    assert await network.held(other) == {f"{task}#2"}
    assert await network.complete(f"{task}#1", holder, '{"late":1}') is Refusal.LATE
    assert await network.complete(f"{task}#2", holder, '{"foreign":1}') is Refusal.FOREIGN_ATTEMPT
    assert await network.complete(f"{task}#2", other, '{"right":1}') is None
    assert await network.complete(f"{task}#2", other, '{"again":1}') is Refusal.DUPLICATE
    assert (await network.tasks.read(task)).answer == b'{"right":1}'


async def test_a_report_is_refused_before_it_is_read_as_it_would_be_after(network: Network) -> None:
    first, second = await network.sign_in(1), await network.sign_in(2)
    task = await network.submit()
    holder, other = (first, second) if await network.held(first) else (second, first)
    cases = [(task, 1, other), (task, 2, holder), (task, 2**32 - 1, holder), (new_task_id("opengpu"), 1, holder)]
    assert isinstance(await network.tasks.terms(task, 1, holder), Terms)
    await network.end_lease(f"{task}#1")
    assert isinstance(await network.tasks.terms(task, 2, other), Terms)
    await network.complete(f"{task}#2", other)
    for task_id, number, node in [*cases, (task, 1, holder), (task, 2, other)]:
        before = await network.tasks.terms(task_id, number, node)
        assert isinstance(before, Refusal)
        assert before is await network.complete(f"{task_id}#{number}", node)


async def test_three_failures_end_the_task_and_say_so(network: Network) -> None:
    node = await network.sign_in(1)
    task = await network.submit()
    for number in (1, 2, 3):
        assert await network.tasks.give_up_attempt(task, number, node, "fault", FAULT) is None
    view = await network.tasks.read(task)
    assert (view.status, view.error_code, view.error_status, view.attempt) == ("failed", "UPSTREAM_ERROR", 502, 3)
    assert await network.held(node) == set()


async def test_a_failed_attempt_prefers_a_node_that_has_not_had_the_task(network: Network) -> None:
    first = await network.sign_in(1, slots=4)
    task = await network.submit()
    second = await network.sign_in(2, slots=1)
    await network.submit(), await network.submit()  # the second node is the more loaded one
    await network.tasks.give_up_attempt(task, 1, first, "fault", FAULT)
    holders = {node: await network.held(node) for node in (first, second)}
    assert f"{task}#2" not in holders[first]


async def test_a_client_fault_is_not_tried_again(network: Network) -> None:
    node = await network.sign_in(1)
    task = await network.submit()
    await network.tasks.give_up_attempt(task, 1, node, "refused", FAULT)
    assert (await network.tasks.read(task)).status == "failed"


async def test_what_is_handed_back_does_not_count_as_a_try(network: Network) -> None:
    task = None
    for number in range(1, 6):
        node = await network.sign_in(number)
        task = task or await network.submit()
        assert await network.fail(f"{task}#{number}", node, "handed_back") is None
        assert await network.state(task) is TaskState.WAITING
        await network.beat(node, draining=True)
    assert await network.redis.hget(f"relay:task:{task}", "tries") == b"0"


async def test_no_task_goes_to_and_fro_between_the_line_and_a_node_that_hands_all_back(network: Network) -> None:
    node = await network.sign_in(1, slots=4)
    task = await network.submit()
    for number in range(1, 5):
        assert await network.held(node) == {f"{task}#{number}"}
        await network.fail(f"{task}#{number}", node, "handed_back")
        # nothing for it before it has beaten: what it gives back may be the first word of its draining
        assert (await network.held(node), await network.state(task)) == (
            set(), TaskState.FAILED if number == 4 else TaskState.WAITING,
        )  # fmt: skip
        await network.beat(node)
    assert round((await standing(network, node))["faults"]) == 1


async def test_a_queue_that_nobody_empties_stays_short(network: Network) -> None:
    node = await network.sign_in(1, slots=4)
    for _ in range(40):
        await network.tasks.cancel(await network.submit(), "guest")
    last = [await network.submit() for _ in range(4)]
    assert await network.redis.llen(f"{key_prefix(node)}{queue_name(node)}") == 24
    assert [envelope["task_id"] for envelope in await network.envelopes(node)][-4:] == last


@pytest.mark.parametrize("leaves", [True, False])
async def test_who_walks_out_on_what_he_has_begun_is_blamed_once(network: Network, leaves: bool) -> None:
    node = await network.sign_in(1, slots=4)
    attempts = [f"{await network.submit()}#1" for _ in range(4)]
    await network.beat(node, *attempts[:3])
    for attempt in attempts:
        await took(network, attempt, timedelta(seconds=290))
    if leaves:
        await network.leave(node)
    else:
        for attempt in attempts:
            await network.fail(attempt, node, "handed_back")
    assert round((await standing(network, node))["timeouts"]) == 1
    tasks = [attempt.partition("#")[0] for attempt in attempts]
    assert [await network.redis.hget(f"relay:task:{task}", "tries") for task in tasks] == [b"1"] * 3 + [b"0"]


async def test_heartbeats_renew_what_is_listed_and_name_what_is_not(network: Network) -> None:
    node = await network.sign_in(1)
    task, missed = await network.submit(), await network.submit()
    reply = await network.beat(node, f"{task}#1", "opengpu:gone#1")
    assert (reply.cancelled, reply.expected) == (("opengpu:gone#1",), (f"{missed}#1",))
    assert await network.state(task) is TaskState.RUNNING
    assert await network.state(missed) is TaskState.ASSIGNED


async def test_a_silent_attempt_is_given_up_however_often_it_is_renewed(network: Network) -> None:
    node = await network.sign_in(1)
    task = await network.submit()
    await network.redis.hset(f"relay:task:{task}", "assigned_ms", "0")
    await network.beat(node, f"{task}#1")
    assert (await network.tasks.sweep()).lost == [f"{task}#1"]


async def test_a_deadline_ends_a_waiting_task(network: Network) -> None:
    await network.sign_in(1, slots=1)
    _, waiting = await network.submit(), await network.submit()
    await network.redis.zadd("relay:deadlines", {waiting: 0})
    assert (await network.tasks.sweep()).given_up == [waiting]
    view = await network.tasks.read(waiting)
    assert (view.error_code, view.error_status) == ("CAPACITY_EXHAUSTED", 503)


async def test_after_an_outage_of_ours_nobody_is_judged_before_a_whole_lease(network: Network) -> None:
    node = await network.sign_in(1)
    task = await network.submit()
    await network.tasks.sweep()
    await network.redis.set("relay:swept_ms", "1")
    await network.redis.zadd("relay:leases", {f"{task}#1": 5})
    await network.redis.zadd("relay:nodes", {node: 5})
    swept = await network.tasks.sweep()
    assert (swept.lost, swept.dead) == ([], [])
    assert (await network.tasks.sweep()).lost == []
    assert await network.state(task) is TaskState.ASSIGNED


async def test_a_leaving_node_loses_nothing_and_its_queue_is_gone(network: Network) -> None:
    first = await network.sign_in(1)
    task = await network.submit()
    second = await network.sign_in(2)
    await network.leave(first)
    assert await network.held(second) == {f"{task}#2"}
    assert await network.envelopes(first) == []


async def test_an_expired_id_is_told_from_an_unknown_one(network: Network) -> None:
    node = await network.sign_in(1)
    task = await network.submit()
    await network.complete(f"{task}#1", node)
    assert 0 < await network.redis.ttl(f"relay:task:{task}") <= 24 * 3600
    await network.redis.delete(f"relay:task:{task}")
    with pytest.raises(TaskExpired):
        await network.tasks.read(task)
    with pytest.raises(TaskNotFound, match="no such task"):
        await network.tasks.read(new_task_id("opengpu"))


async def test_the_record_goes_to_the_outbox_once_opened_and_once_ended(network: Network) -> None:
    node = await network.sign_in(1)
    task = await network.submit()
    assert await network.redis.zrange("relay:outbox:open", 0, -1) == [task.encode()]
    assert await network.redis.zrange("relay:outbox:settle", 0, -1) == []
    await network.complete(f"{task}#1", node)
    assert await network.redis.zrange("relay:outbox:settle", 0, -1) == [task.encode()]
    record = await network.tasks.record(task)
    assert (record["opening"], record["settlement"], record["outcome"]) == ("pending", "pending", "completed")
    assert (record["node"], record["payment_wei"]) == (node, "7")


async def test_a_repeated_submit_changes_nothing(network: Network) -> None:
    node = await network.sign_in(1)
    task = await network.submit()
    order = Order("opengpu", MODEL, b"{}", "guest")
    await network.tasks.submit(task, order, COMMITMENT)
    assert len(await network.envelopes(node)) == 1


async def test_an_ended_direct_call_can_be_polled(network: Network) -> None:
    task = new_task_id("direct")
    await network.tasks.keep(task, Order("direct", MODEL, b"{}", "guest"), datetime.now(UTC), b'{"a":1}')
    view = await network.tasks.read(task)
    assert (view.status, view.answer, view.node, view.task_address) == ("completed", b'{"a":1}', None, None)
