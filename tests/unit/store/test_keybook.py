"""Client keys: whose they are, what they may, how often."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from coordinator.errors import InvalidApiKey, KeyRevoked, ModelNotAvailable, RateLimited, ScopeDenied
from coordinator.lifecycle.caller import Credential, Tier
from coordinator.lifecycle.keys import NewKey, Restrictions
from coordinator.lifecycle.order import Mode, Order
from coordinator.lifecycle.tiers import DEFAULT_TIERS, TierLimits, default_tiers
from coordinator.protocol.ids import new_task_id
from coordinator.store.keybook import KeyBook
from coordinator.store.keyring import KeyRing
from tests.unit.store.network import COMMITMENT, MODEL, REQUEST, Network

TIERS = default_tiers()
LAPTOP = NewKey("laptop", "default", "basic")
GUEST = Credential(None, "192.0.2.1")
DIRECT: dict[Mode, str] = {"direct": "direct.openai.m"}
OPENGPU: dict[Mode, str] = {"opengpu": "opengpu.openai.m"}
BOTH = DIRECT | OPENGPU


def tiers(**limits: Any) -> dict[Tier, TierLimits]:
    """The defaults, and for guests and the basic tier what is said here; `overall` stands for `global`."""
    limits = {"global" if name == "overall" else name: limit for name, limit in limits.items()}
    return {
        tier: TierLimits.model_validate({**DEFAULT_TIERS[tier], **(limits if tier in ("guest", "basic") else {})})
        for tier in DEFAULT_TIERS
    }


async def key_of(network: Network, new: NewKey = LAPTOP) -> Credential:
    return Credential((await KeyRing(network.redis).create(new))[0], "")


async def test_a_key_is_known_by_its_hash_alone(network: Network) -> None:
    key, row = await KeyRing(network.redis).create(LAPTOP)
    caller = await KeyBook(network.redis, TIERS).identify(Credential(key, ""))
    assert (caller.id, caller.key_id, caller.account, caller.tier) == (row.key_id, row.key_id, "default", "basic")
    assert caller.concurrent == TIERS["basic"].concurrent
    for name in await network.redis.keys("relay:key:*"):
        assert key.encode() not in name + b"".join((await network.redis.hgetall(name)).values())


@pytest.mark.parametrize("bad", ["", "relay_sk_", "relay_sk_" + "x" * 40, "sk-other", "relay_sk_\n" + "x" * 40])
async def test_a_bad_key_is_refused(network: Network, bad: str) -> None:
    book = KeyBook(network.redis, TIERS)
    with pytest.raises(InvalidApiKey):
        await book.identify(Credential(bad, "192.0.2.1"))
    with pytest.raises(InvalidApiKey):
        await book.admit(Credential(bad, "192.0.2.1"), DIRECT)


async def test_a_revoked_key_is_refused_at_once_and_may_come_back(network: Network) -> None:
    ring, book = KeyRing(network.redis), KeyBook(network.redis, TIERS)
    key, row = await ring.create(LAPTOP)
    await ring.revoke(None, row.key_id)
    with pytest.raises(KeyRevoked):
        await book.admit(Credential(key, ""), DIRECT)
    await ring.unrevoke(None, row.key_id)
    assert (await book.admit(Credential(key, ""), DIRECT)).caller.id == row.key_id
    await ring.revoke(None, row.key_id)
    await ring.delete(None, row.key_id)
    with pytest.raises(InvalidApiKey):
        await book.identify(Credential(key, ""))


async def test_a_guest_is_his_address(network: Network) -> None:
    caller = await KeyBook(network.redis, TIERS).identify(GUEST)
    assert (caller.id, caller.tier, caller.key_id, caller.superkey) == ("guest:192.0.2.1", "guest", None, False)


async def test_a_limit_holds_and_says_when_the_next_may_come(network: Network) -> None:
    book = KeyBook(network.redis, tiers(direct=3, overall=100))
    seen = [(await book.admit(GUEST, DIRECT)).allowance for _ in range(3)]
    assert [(one.limit, one.remaining) for one in seen] == [(3, 2), (3, 1), (3, 0)]
    assert [one.reset.total_seconds() for one in seen] == pytest.approx([20, 40, 60], abs=5)  # on a busy machine
    with pytest.raises(RateLimited, match="3 requests in direct mode a minute") as caught:
        await book.admit(GUEST, DIRECT)
    assert caught.value.allowance is not None
    assert caught.value.allowance.remaining == 0
    assert caught.value.retry_after is not None
    assert 15 < caught.value.retry_after.total_seconds() <= 20
    # somebody else's limit is his own, and so is another mode's
    await book.admit(Credential(None, "192.0.2.2"), DIRECT)
    await book.admit(GUEST, OPENGPU)
    await book.identify(GUEST)


async def test_what_is_refused_counts_nowhere(network: Network) -> None:
    book = KeyBook(network.redis, tiers(direct=1, opengpu=100, overall=3))
    await book.admit(GUEST, DIRECT)
    for _ in range(5):
        with pytest.raises(RateLimited, match="direct mode"):
            await book.admit(GUEST, DIRECT)
    for _ in range(2):
        await book.admit(GUEST, OPENGPU)
    with pytest.raises(RateLimited, match="3 requests a minute"):
        await book.admit(GUEST, OPENGPU)


async def test_two_processes_share_a_limit(network: Network) -> None:
    one, other = KeyBook(network.redis, tiers(direct=4)), KeyBook(network.redis, tiers(direct=4))
    for book in (one, other, one, other):
        await book.admit(GUEST, DIRECT)
    for book in (one, other):
        with pytest.raises(RateLimited):
            await book.admit(GUEST, DIRECT)


async def test_a_keys_own_limits_go_before_its_tiers(network: Network) -> None:
    own = Restrictions(rate_limits={"direct": 1, "concurrent": 7})
    key = await key_of(network, replace(LAPTOP, restrictions=own))
    book = KeyBook(network.redis, tiers(direct=100))
    assert (await book.admit(key, DIRECT)).caller.concurrent == 7
    with pytest.raises(RateLimited):
        await book.admit(key, DIRECT)
    await book.admit(key, OPENGPU)


async def test_auto_is_the_first_mode_that_the_key_may_use(network: Network) -> None:
    book = KeyBook(network.redis, TIERS)
    restricted = await key_of(network, replace(LAPTOP, restrictions=Restrictions(("opengpu.openai.m",))))
    assert (await book.admit(await key_of(network), BOTH)).mode == "direct"
    assert (await book.admit(restricted, BOTH)).mode == "opengpu"
    for scope in ("direct.openai.m", "direct.openai.m2", "penai.m"):
        with pytest.raises(ScopeDenied):
            await book.admit(restricted, {"direct": scope})


async def test_a_tier_may_be_restricted_to_models(network: Network) -> None:
    book = KeyBook(network.redis, tiers(model_restrictions=["opengpu.openai.m"]))
    assert (await book.admit(GUEST, BOTH)).mode == "opengpu"
    with pytest.raises(ModelNotAvailable):
        await book.admit(GUEST, DIRECT)
    pro = await key_of(network, replace(LAPTOP, tier="pro"))
    assert (await book.admit(pro, BOTH)).mode == "direct"


async def test_a_clock_that_is_set_back_locks_nobody_out(network: Network) -> None:
    book = KeyBook(network.redis, tiers(direct=6, overall=6))
    await network.redis.hset("relay:tat:guest:192.0.2.1", mapping={"direct": "9" * 16, "global": "9" * 16})
    with pytest.raises(RateLimited) as caught:
        await book.admit(GUEST, DIRECT)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after.total_seconds() <= 10


async def test_unfinished_tasks_are_bounded_for_each_caller(network: Network) -> None:
    node = await network.sign_in(1, slots=8)

    async def submit(caller: str = "key_1", most: int | None = 2) -> Any:
        order = Order("opengpu", MODEL, REQUEST, caller, True, concurrent=most)
        return await network.tasks.submit(new_task_id("opengpu"), order, COMMITMENT)

    first = await submit()
    await submit()
    with pytest.raises(RateLimited, match="2 of your tasks") as caught:
        await submit()
    assert caught.value.retry_after is not None
    await submit("key_2")
    await submit(most=None)
    assert await network.complete(f"{first.task_id}#1", node) is None
    with pytest.raises(RateLimited):
        await submit()
    await submit(most=3)


async def test_direct_calls_and_tasks_share_the_room_of_a_caller(network: Network) -> None:
    await network.sign_in(1, slots=8)
    book = KeyBook(network.redis, tiers(concurrent=3))
    await book.admit(GUEST, DIRECT, "call 1")
    await book.admit(GUEST, DIRECT, "call 2")
    order = Order("opengpu", MODEL, REQUEST, "guest:192.0.2.1", True, concurrent=3)
    await network.tasks.submit(new_task_id("opengpu"), order, COMMITMENT)
    with pytest.raises(RateLimited, match="3 of your calls") as caught:
        await book.admit(GUEST, DIRECT, "call 3")
    assert caught.value.allowance is not None
    assert caught.value.allowance.remaining == TIERS["guest"].direct - 2  # what is refused counts nowhere
    with pytest.raises(RateLimited, match="3 of your tasks"):
        await network.tasks.submit(new_task_id("opengpu"), order, COMMITMENT)
    await book.admit(GUEST, OPENGPU, "call 4")  # its task is what counts
    await book.admit(Credential(None, "192.0.2.2"), DIRECT, "call 5")
    book.ended("guest:192.0.2.1", "call 2")
    await book.admit(GUEST, DIRECT, "call 6")
    with pytest.raises(RateLimited):
        await book.admit(GUEST, DIRECT, "call 7")


async def test_a_call_that_ended_is_soon_known_to_other_processes(network: Network) -> None:
    book, other = KeyBook(network.redis, tiers(concurrent=1)), KeyBook(network.redis, tiers(concurrent=1))
    await book.admit(GUEST, DIRECT, "call 1")
    with pytest.raises(RateLimited):
        await other.admit(GUEST, DIRECT, "call 2")
    book.ended("guest:192.0.2.1", "call 1")
    async with asyncio.timeout(5):
        while await network.redis.zcard("relay:calls:guest:192.0.2.1"):
            await asyncio.sleep(0.001)
    await other.admit(GUEST, DIRECT, "call 2")


async def test_calls_of_a_process_that_was_killed_end_by_themselves(network: Network) -> None:
    book = KeyBook(network.redis, tiers(concurrent=1))
    await book.admit(GUEST, DIRECT, "call 1")
    name = "relay:calls:guest:192.0.2.1"
    assert 290_000 < await network.redis.pttl(name) <= 300_000
    await network.redis.zincrby(name, -300_000_000, "call 1")  # as if so much time had passed
    await book.admit(GUEST, DIRECT, "call 2")
    assert await network.redis.zrange(name, 0, -1) == [b"call 2"]
