"""Accounts, holds, ledgers, usage: what is set aside, charged once, let go, counted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from coordinator.errors import InsufficientCredits, InvalidRequest, KeyBudgetExhausted, UpstreamError
from coordinator.lifecycle.keys import MAX_BUDGET_NANO, NewKey
from coordinator.lifecycle.money import FREE, Bill, Price, Tokens
from coordinator.lifecycle.order import Order
from coordinator.lifecycle.usage import Balance, KeyBudget, Usage
from coordinator.protocol.ids import TaskId, new_task_id
from coordinator.store.direct import DirectLine
from coordinator.store.keyring import KeyRing
from coordinator.store.money import Purse
from coordinator.store.signals import Signals
from tests.unit.store.network import MODEL, REQUEST, Network

MOST = Tokens(10, 20)
DIRECT = TaskId("direct:00000000-0000-4000-8000-000000000001")
ANSWER = b'{"model":"m","choices":[{"message":{"content":"Hello"}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}'


def purse_of(network: Network) -> Purse:
    return Purse(network.redis, network.scripts)


async def bill_of(network: Network, budget: int | None = None, most: Tokens = MOST) -> Bill:
    """Of a new key of `acme`, at 2 and 3 nano-dollars a token: 80 at most."""
    _, key = await KeyRing(network.redis).create(NewKey("laptop", "acme", "basic", budget_nano=budget))
    return Bill("acme", key.key_id, "opengpu", "openai.m", Price(2, 3), most)


def today() -> date:
    return datetime.now(UTC).date()


async def test_a_task_is_charged_once_by_its_tokens(network: Network) -> None:
    node, purse, bill = await network.sign_in(1), purse_of(network), await bill_of(network, budget=1000)
    await purse.credit("acme", 500)
    task = await network.submit(bill=bill)
    assert await purse.balance("acme") == Balance(paid=500, left=420, held=80, spent=0)
    assert await purse.budget(bill.key_id) == KeyBudget(1000, 80, 0)
    for _ in range(2):
        await network.complete(f"{task}#1", node)
    assert await purse.balance("acme") == Balance(paid=500, left=482, held=0, spent=18)
    assert await purse.budget(bill.key_id) == KeyBudget(1000, 0, 18)
    credit, charge = await purse.entries("acme")
    assert (credit.kind, credit.nano, charge.kind, charge.nano) == ("credit", 500, "charge", 18)
    assert (charge.task_id, charge.key_id, charge.model) == (task, bill.key_id, "openai.m")
    used = [Usage(today(), bill.key_id, "openai.m", "opengpu", 1, 3, 4, 18)]
    assert await purse.usage("acme", today(), today()) == used
    assert await purse.usage("acme", today() - timedelta(3), today() - timedelta(1)) == []


async def test_what_comes_to_nothing_costs_nothing(network: Network) -> None:
    node, purse, bill = await network.sign_in(1, slots=9), purse_of(network), await bill_of(network)
    await purse.credit("acme", 500)
    refused, late, cancelled = [await network.submit(bill=bill) for _ in range(3)]
    await network.tasks.give_up_attempt(refused, 1, node, "refused", UpstreamError("no"))
    await network.redis.zadd("relay:deadlines", {late: 0})
    await network.tasks.sweep()
    await network.tasks.cancel(cancelled, "")
    for task in (refused, late, cancelled):
        await network.complete(f"{task}#1", node)
    assert await purse.balance("acme") == Balance(500, 500, 0, 0)
    assert await purse.usage("acme", today(), today()) == []
    assert len(await purse.entries("acme")) == 1


async def test_a_task_given_to_another_node_is_still_paid_for_once(network: Network) -> None:
    first, purse, bill = await network.sign_in(1), purse_of(network), await bill_of(network)
    await purse.credit("acme", 500)
    task = await network.submit(bill=bill)
    second = await network.sign_in(2)
    await network.silence(first)
    assert (await purse.balance("acme")).held == 80
    await network.complete(f"{task}#1", first)
    await network.complete(f"{task}#2", second)
    assert await purse.balance("acme") == Balance(500, 482, 0, 18)


async def test_no_more_is_charged_than_was_set_aside(network: Network) -> None:
    node, purse = await network.sign_in(1), purse_of(network)
    bill = await bill_of(network, most=Tokens(2, 1))
    await purse.credit("acme", bill.amount)
    task = await network.submit(bill=bill)
    await network.complete(f"{task}#1", node)
    assert await purse.balance("acme") == Balance(7, 0, 0, 7)


async def test_what_is_not_affordable_is_refused_and_leaves_no_trace(network: Network) -> None:
    await network.sign_in(1, slots=9)
    purse, bill, tight = purse_of(network), await bill_of(network), await bill_of(network, budget=79)
    with pytest.raises(InsufficientCredits, match=r"0\.00000008 US dollars"):
        await network.submit(bill=bill)
    await purse.credit("acme", 159)
    with pytest.raises(KeyBudgetExhausted, match=r"0\.000000079 is left"):
        await network.submit(bill=tight)
    with pytest.raises(KeyBudgetExhausted):
        await purse.reserve(DIRECT, tight)
    await network.submit(bill=bill)
    with pytest.raises(InsufficientCredits):
        await network.submit(bill=bill)
    await KeyRing(network.redis).top_up("acme", tight.key_id, 1)
    await purse.credit("acme", 1)
    await network.submit(bill=tight)
    assert await purse.balance("acme") == Balance(160, 0, 160, 0)
    assert len(await network.redis.keys("relay:task:*")) == len(await network.redis.keys("relay:hold:*")) == 2


async def test_without_a_price_nothing_is_refused_or_charged_but_all_is_counted(network: Network) -> None:
    node, purse = await network.sign_in(1), purse_of(network)
    bill = replace(await bill_of(network, budget=0), price=FREE)
    task = await network.submit(bill=bill)
    await network.complete(f"{task}#1", node)
    for _ in range(2):
        await purse.settle(DIRECT, bill, Tokens(5, 6))
    [used] = await purse.usage("acme", today(), today())
    assert (used.requests, used.prompt_tokens, used.completion_tokens, used.nano) == (2, 8, 10, 0)
    assert await purse.balance("acme") == Balance(0, 0, 0, 0)
    assert await purse.entries("acme") == []


async def test_a_direct_call_is_settled_once(network: Network) -> None:
    purse, bill = purse_of(network), await bill_of(network, budget=100)
    await purse.credit("acme", 500)
    for _ in range(2):  # a lost answer is asked for again
        await purse.reserve(DIRECT, bill)
    assert (await purse.balance("acme")).held == 80
    for tokens in (Tokens(10**9, 1), None, Tokens(1, 1)):
        await purse.settle(DIRECT, bill, tokens)
    assert await purse.balance("acme") == Balance(500, 477, 0, 23)
    assert await purse.budget(bill.key_id) == KeyBudget(100, 0, 23)


async def test_a_direct_call_that_is_kept_is_settled_with_it(network: Network) -> None:
    purse, bill = purse_of(network), replace(await bill_of(network), mode="direct")
    await purse.credit("acme", 500)
    order, now = Order("direct", MODEL, REQUEST, bill.key_id, bill=bill), datetime.now(UTC)
    good, bad, free = (new_task_id("direct") for _ in range(3))
    for task in (good, bad):
        await purse.reserve(task, bill)
    for _ in range(2):
        await network.tasks.keep(good, order, now, ANSWER)
        await network.tasks.keep(bad, order, now, UpstreamError("no"))
        await network.tasks.keep(free, replace(order, bill=replace(bill, price=FREE)), now, ANSWER)
    assert await purse.balance("acme") == Balance(500, 482, 0, 18)
    [used] = await purse.usage("acme", today(), today())
    assert (used.requests, used.prompt_tokens, used.completion_tokens, used.nano) == (2, 6, 8, 18)


async def test_a_call_whose_hold_another_one_let_go_of_is_charged_all_the_same(network: Network) -> None:
    purse, bill = purse_of(network), replace(await bill_of(network), mode="direct")
    await purse.credit("acme", 500)
    await purse.reserve(DIRECT, bill)
    await purse.settle(DIRECT, bill, None)
    for _ in range(2):
        await network.tasks.keep(DIRECT, Order("direct", MODEL, REQUEST, "", bill=bill), datetime.now(UTC), ANSWER)
    assert await purse.balance("acme") == Balance(500, 482, 0, 18)


async def test_an_asynchronous_direct_task_is_settled_by_its_runner(network: Network) -> None:
    purse, bill = purse_of(network), await bill_of(network)
    await purse.credit("acme", 500)
    line = DirectLine(network.scripts, Signals(network.redis))
    await network.submit(mode="direct", bill=bill)
    claim = await line.claim()
    assert claim is not None
    for _ in range(2):
        await line.finish(claim, ANSWER)
    assert await purse.balance("acme") == Balance(500, 482, 0, 18)


async def test_what_a_dead_process_held_is_let_go_and_what_lives_is_renewed(network: Network) -> None:
    purse, bill = purse_of(network), await bill_of(network)
    await purse.credit("acme", 500)
    alive = new_task_id("direct")
    for task in (DIRECT, alive):
        await purse.reserve(task, bill)
        await network.redis.zadd("relay:holds", {task: 0})
    await purse.renew(alive)
    await network.tasks.sweep()
    assert (await purse.balance("acme")).held == 80
    await purse.settle(DIRECT, bill, Tokens(3, 4))  # too late: nobody was promised anything
    await purse.settle(alive, bill, Tokens(3, 4))
    assert await purse.balance("acme") == Balance(500, 482, 0, 18)


async def test_an_outage_lets_go_of_nothing(network: Network) -> None:
    purse, bill = purse_of(network), await bill_of(network)
    await purse.credit("acme", 500)
    await network.tasks.sweep()
    await purse.reserve(DIRECT, bill)
    await network.redis.zadd("relay:holds", {DIRECT: 0})
    await network.redis.set("relay:swept_ms", 0)
    for _ in range(2):
        await network.tasks.sweep()
    assert (await purse.balance("acme")).held == 80


async def test_a_key_that_is_deleted_meanwhile_stays_deleted(network: Network) -> None:
    purse, ring, bill = purse_of(network), KeyRing(network.redis), await bill_of(network)
    await purse.credit("acme", 500)
    await purse.reserve(DIRECT, bill)
    await ring.revoke(None, bill.key_id)
    await ring.delete(None, bill.key_id)
    await purse.settle(DIRECT, bill, Tokens(3, 4))
    assert await purse.balance("acme") == Balance(500, 482, 0, 18)
    assert await ring.all("acme") == []
    assert await network.redis.keys("relay:key:*") == []


async def test_credit_is_paid_in_taken_back_and_bounded(network: Network) -> None:
    purse = purse_of(network)
    assert await purse.credit("acme", MAX_BUDGET_NANO) == MAX_BUDGET_NANO
    with pytest.raises(InvalidRequest, match="1000000 is the most"):
        await purse.credit("acme", 1)
    assert await purse.credit("acme", -MAX_BUDGET_NANO + 1) == 1
    with pytest.raises(InvalidRequest, match="nothing would be left"):
        await purse.credit("acme", -2)
    assert [entry.nano for entry in await purse.entries("acme")] == [MAX_BUDGET_NANO, 1 - MAX_BUDGET_NANO]
    assert [entry.nano for entry in await purse.entries("acme", 1)] == [1 - MAX_BUDGET_NANO]
    assert await purse.balance("acme") == Balance(1, 1, 0, 0)


async def test_a_burst_can_not_overspend(network: Network) -> None:
    """1,000 at once on a budget for 100: exactly those pass."""
    one, other, bill = purse_of(network), purse_of(network), await bill_of(network, budget=100 * 80 + 79)
    await one.credit("acme", 10**9)
    tasks = [new_task_id("direct") for _ in range(1000)]
    few = asyncio.Semaphore(64)  # the fake's pool has a hundred connections

    async def reserve(purse: Purse, task: TaskId) -> None:
        async with few:
            await purse.reserve(task, bill)

    asked = (reserve((one, other)[number % 2], task) for number, task in enumerate(tasks))
    said = await asyncio.gather(*asked, return_exceptions=True)
    passed = [task for task, refused in zip(tasks, said, strict=True) if refused is None]
    assert len(passed) == 100
    assert sum(isinstance(refused, KeyBudgetExhausted) for refused in said) == 900
    for task in passed:
        await one.settle(task, bill, Tokens(10, 20))
    assert await one.budget(bill.key_id) == KeyBudget(8079, 0, 8000)
    charges = [entry.nano for entry in await one.entries("acme") if entry.kind == "charge"]
    assert (len(charges), sum(charges)) == (100, 8000)
