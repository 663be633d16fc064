"""Deliveries in the store: due at a task's end, leased, tried eight times, bounded by receiver, listed by account."""

from __future__ import annotations

from datetime import timedelta

import pytest
from redis.asyncio import Redis

from coordinator.errors import InvalidRequest, WebhookDeliveryNotFound
from coordinator.lifecycle.webhooks import RETRY_DELAYS, DeliveryState, Outcome, Webhook, message_id
from coordinator.protocol.ids import new_task_id
from tests.unit.store.hooked import DOWN, OK, URL, Hooked
from tests.unit.store.network import Network

WAITING, PENDING, DELIVERED, FAILED = DeliveryState


@pytest.fixture
def hooked(redis: Redis) -> Hooked:
    return Hooked(redis)


async def test_a_task_with_a_webhook_is_due_once_it_has_ended(hooked: Hooked) -> None:
    task_id = await hooked.submit()
    assert await hooked.hooks.claim() is None
    assert (await hooked.read(task_id)).state is WAITING
    await hooked.end()
    attempt = await hooked.attempt()
    assert (attempt.task_id, attempt.url, attempt.tries) == (task_id, URL, 0)
    assert (attempt.view.status, attempt.view.model) == ("completed", "m")
    assert await hooked.hooks.claim() is None  # it is leased
    assert await hooked.hooks.finish(attempt, OK)
    delivery = await hooked.read(task_id)
    assert (delivery.state, delivery.attempts, delivery.response_status) == (DELIVERED, 1, 204)
    assert delivery.delivered_at is not None
    assert delivery.next_at is None
    assert await hooked.hooks.claim() is None
    assert await hooked.redis.ttl(f"relay:webhook:{task_id}") > 0


async def test_a_task_without_one_has_none(hooked: Hooked, network: Network) -> None:
    await network.submit(mode="direct")
    task_id = await hooked.end()
    assert await hooked.hooks.claim() is None
    assert not await hooked.redis.exists(f"relay:webhook:{task_id}")


async def test_a_task_that_failed_and_an_opengpu_task(hooked: Hooked, network: Network) -> None:
    await hooked.submit()
    await hooked.end(well=False)
    attempt = await hooked.attempt()
    assert (attempt.view.status, attempt.view.error_code) == ("failed", "UPSTREAM_ERROR")
    assert (await hooked.read(attempt.task_id)).event == "task.failed"

    node = await network.sign_in(1)
    task_id = await network.submit(webhook=Webhook(URL, "hooks.example:443", "acme"))
    await network.complete(f"{task_id}#1", node)
    attempt = await hooked.attempt()
    assert (attempt.task_id, attempt.view.mode) == (task_id, "opengpu")
    assert attempt.view.task_address is not None


async def test_a_deadline_and_a_cancellation_are_ends_too(hooked: Hooked) -> None:
    first, second = await hooked.submit(), await hooked.submit()
    await hooked.redis.zadd("relay:deadlines", {first: 0})
    await hooked.tasks.sweep()
    await hooked.tasks.cancel(second, "key_0")
    told = {(await hooked.attempt()).task_id: (await hooked.attempt(other=True)).task_id}
    assert set(told.items()) in ({(first, second)}, {(second, first)})


async def test_eight_attempts_at_growing_pauses_then_it_is_given_up(hooked: Hooked) -> None:
    [task_id] = await hooked.ended()
    for number, pause in enumerate(RETRY_DELAYS, start=1):
        await hooked.hooks.finish(await hooked.attempt(), Outcome(500, "not_2xx"))
        assert abs(await hooked.pause(task_id) - pause.total_seconds()) <= 2
        delivery = await hooked.read(task_id)
        assert (delivery.state, delivery.attempts, delivery.error) == (PENDING, number, "not_2xx")
        assert await hooked.hooks.claim() is None
        await hooked.pass_time()
    await hooked.hooks.finish(await hooked.attempt(), DOWN)
    await hooked.pass_time()
    assert await hooked.hooks.claim() is None
    delivery = await hooked.read(task_id)
    assert (delivery.state, delivery.attempts, delivery.response_status) == (FAILED, 8, None)
    assert [pause.total_seconds() for pause in RETRY_DELAYS] == [30, 60, 120, 240, 480, 960, 1800]


@pytest.mark.parametrize("status", [100, 199, 300, 302, 404, 410, 500])
async def test_only_a_2xx_delivers(hooked: Hooked, status: int) -> None:
    [task_id] = await hooked.ended()
    await hooked.hooks.finish(await hooked.attempt(), Outcome(status, "not_2xx"))
    assert (await hooked.read(task_id)).state is PENDING


async def test_the_attempt_of_a_killed_process_is_taken_over(hooked: Hooked) -> None:
    [task_id] = await hooked.ended()
    dead = await hooked.attempt()
    await hooked.pass_time(leases=True)
    mine = await hooked.attempt(other=True)
    assert (mine.task_id, mine.tries) == (task_id, 0)  # nothing is known of the other: it doesn't count
    assert not await hooked.hooks.finish(dead, OK)
    assert (await hooked.read(task_id)).state is PENDING
    assert await hooked.other.finish(mine, OK)
    assert not await hooked.hooks.finish(dead, DOWN)
    assert (await hooked.read(task_id)).state is DELIVERED


async def test_a_late_word_counts_while_nobody_else_has_the_attempt(hooked: Hooked) -> None:
    [task_id] = await hooked.ended()
    attempt = await hooked.attempt()
    await hooked.pass_time(leases=True)
    assert await hooked.hooks.finish(attempt, OK)
    assert (await hooked.read(task_id)).state is DELIVERED
    await hooked.pass_time(leases=True)
    assert await hooked.hooks.claim() is None


async def test_a_late_word_takes_a_delivery_out_of_the_line_again(hooked: Hooked) -> None:
    await hooked.ended(2)
    first, second = await hooked.attempt(), await hooked.attempt()
    await hooked.pass_time(leases=True)
    taken_over = await hooked.attempt(other=True)  # and the other one is due again
    [late] = [attempt for attempt in (first, second) if attempt.task_id != taken_over.task_id]
    assert await hooked.hooks.finish(late, OK)
    assert (await hooked.read(late.task_id)).next_at is None
    assert await hooked.hooks.claim() is None


async def test_one_receiver_has_a_few_at_a_time_and_holds_up_no_other(hooked: Hooked) -> None:
    await hooked.ended(12, receiver="slow.example:443")
    [other] = await hooked.ended(receiver="quick.example:443")
    held = [await hooked.attempt(other=number % 2 == 0) for number in range(9)]
    assert [attempt.receiver for attempt in held].count("slow.example:443") == 8
    assert {attempt.task_id for attempt in held if attempt.receiver == "quick.example:443"} == {other}
    assert await hooked.hooks.claim() is None
    slow = next(attempt for attempt in held if attempt.receiver == "slow.example:443")
    await hooked.hooks.finish(slow, DOWN)
    assert (await hooked.attempt()).receiver == "slow.example:443"
    assert await hooked.hooks.claim() is None


async def test_nobody_holds_up_another_accounts_deliveries(hooked: Hooked) -> None:
    """Not to the same receiver, and not with any number of receivers."""
    for number in range(40):
        await hooked.ended(receiver=f"host{number}.example:443", account="greedy")
    await hooked.ended(receiver="host1.example:443", account="modest")
    held = []
    while (attempt := await hooked.hooks.claim()) is not None:
        held.append(attempt)
    assert len(held) == 33
    assert held[-1].receiver == "host1.example:443"
    for attempt in held:
        await hooked.hooks.finish(attempt, OK)
    await hooked.pass_time()
    rest = []
    while (attempt := await hooked.hooks.claim()) is not None:
        rest.append(attempt)
    assert len(rest) == 8


async def test_what_has_ended_is_delivered_once_more_when_it_is_asked_for(hooked: Hooked) -> None:
    [task_id] = await hooked.ended()
    await hooked.hooks.finish(await hooked.attempt(), OK)
    again = await hooked.hooks.redeliver("acme", task_id)
    assert (again.state, again.attempts) == (PENDING, 0)
    assert await hooked.redis.ttl(f"relay:webhook:{task_id}") == -1
    attempt = await hooked.attempt()
    assert attempt.task_id == task_id
    assert (await hooked.hooks.redeliver("acme", task_id)).state is PENDING  # it runs: nothing to do
    await hooked.hooks.finish(attempt, DOWN)
    await hooked.hooks.redeliver("acme", task_id)  # at once, instead of in half a minute
    await hooked.hooks.finish(await hooked.attempt(), OK)
    assert (await hooked.read(task_id)).state is DELIVERED


async def test_redelivery_of_what_has_not_ended_or_is_another_accounts(hooked: Hooked) -> None:
    task_id = await hooked.submit()
    with pytest.raises(InvalidRequest) as early:
        await hooked.hooks.redeliver("acme", task_id)
    assert early.value.status == 400
    for account, asked in (("other", task_id), ("acme", new_task_id("direct"))):
        with pytest.raises(WebhookDeliveryNotFound):
            await hooked.hooks.redeliver(account, asked)
        with pytest.raises(WebhookDeliveryNotFound):
            await hooked.hooks.read(account, asked)


async def test_the_list_is_an_accounts_own_newest_first_in_pages(hooked: Hooked) -> None:
    tasks = [await hooked.submit() for _ in range(5)]
    for number, task_id in enumerate(tasks):
        await hooked.redis.zadd("relay:webhooks:of:acme", {task_id: number})
    await hooked.submit(account="other")
    pages, after = [], None
    while True:
        page = await hooked.hooks.listed("acme", after, 2)
        pages.append([delivery.task_id for delivery in page.deliveries])
        if (after := page.cursor) is None:
            break
    assert pages == [[tasks[4], tasks[3]], [tasks[2], tasks[1]], [tasks[0]]]
    await hooked.end()
    found = await hooked.hooks.listed("acme", None, 10, PENDING)
    assert [delivery.delivery_id for delivery in found.deliveries] == [message_id(tasks[0])]
    assert not (await hooked.hooks.listed("nobody", None, 10)).deliveries


async def test_what_has_expired_is_passed_over_and_forgotten(hooked: Hooked) -> None:
    old = await hooked.submit()
    await hooked.redis.delete(f"relay:webhook:{old}")
    assert not (await hooked.hooks.listed("acme", None, 10)).deliveries
    await hooked.redis.zadd("relay:webhooks:of:acme", {old: 0})
    new = await hooked.submit()
    assert await hooked.redis.zrange("relay:webhooks:of:acme", 0, -1) == [new.encode()]


async def test_a_task_that_expired_before_its_receiver_came_back_is_told_all_the_same(hooked: Hooked) -> None:
    [task_id] = await hooked.ended()
    await hooked.redis.delete(f"relay:task:{task_id}")
    attempt = await hooked.attempt()
    assert (attempt.view.status, attempt.view.answer) == ("completed", None)


async def test_an_account_has_one_secret_until_it_is_rotated(hooked: Hooked) -> None:
    await hooked.ended(2)
    attempt = await hooked.attempt()
    [secret] = attempt.secrets
    assert (await hooked.hooks.secret("acme")).current == (await hooked.other.secret("acme")).current == secret
    assert (await hooked.hooks.secret("other")).current != secret

    rotated = await hooked.hooks.rotate("acme", timedelta(hours=24))
    assert rotated.current != secret
    assert rotated.previous_until is not None
    assert (await hooked.attempt()).secrets == (rotated.current, secret)
    await hooked.redis.hset("relay:webhooks:secret:acme", "previous_until_ms", "1")
    await hooked.ended()
    assert (await hooked.attempt()).secrets == (rotated.current,)
    assert (await hooked.hooks.secret("acme")).previous_until is None


async def test_a_secret_that_leaked_is_dropped_at_once(hooked: Hooked) -> None:
    await hooked.hooks.secret("acme")
    rotated = await hooked.hooks.rotate("acme", timedelta())
    await hooked.ended()
    assert (await hooked.attempt()).secrets == (rotated.current,)
