"""Claims of Idempotency-Keys, one step at a time; idempotency_machine.py has the law."""

from __future__ import annotations

import pytest

from coordinator.errors import IdempotencyInProgress, UpstreamError, UpstreamInvalidRequest
from coordinator.lifecycle.idempotency import Ask, Kind, Turn
from coordinator.lifecycle.order import Claim, Order
from coordinator.protocol.ids import new_task_id
from coordinator.store.idempotency import IdempotencyClaims
from coordinator.store.signals import Signals
from tests.unit.store.network import COMMITMENT, MODEL, REQUEST, Network

KEY = "key_0000000000000001"
TOKENS = iter(range(10**6))


@pytest.fixture
def claims(network: Network) -> IdempotencyClaims:
    return IdempotencyClaims(network.scripts, Signals(network.redis))


def asking(kind: Kind = "task", *, key: str = "k", body: str = "b", caller: str = KEY) -> Ask:
    mode = "opengpu" if kind == "task" else "direct"
    return Ask(caller, key, body, kind, new_task_id(mode), f"t{next(TOKENS)}")


async def submit(network: Network, turn: Turn) -> None:
    mode = turn.task_id.partition(":")[0]
    order = Order(mode, MODEL, REQUEST, KEY, claim=turn.claim)  # type: ignore[arg-type]
    await network.tasks.submit(turn.task_id, order, COMMITMENT if mode == "opengpu" else None)


async def keep(network: Network, turn: Turn, outcome: bytes | UpstreamError | UpstreamInvalidRequest) -> None:
    order = Order("direct", MODEL, REQUEST, KEY, claim=turn.claim)
    await network.tasks.keep(turn.task_id, order, network.now(), outcome)


async def die(network: Network, claim: Claim) -> None:
    """As if its process had been killed and the claim's time had passed."""
    await network.redis.hset(claim.name, "until_ms", "0")


async def test_the_first_runs_and_a_replay_finds_its_task(network: Network, claims: IdempotencyClaims) -> None:
    await network.sign_in(1)
    first = await claims.claim(asking())
    assert (await claims.claim(asking())).what == "pending"
    await submit(network, first)
    replay = await claims.claim(asking())
    assert (replay.what, replay.task_id) == ("accepted", first.task_id)
    assert 86000 < await network.redis.ttl(first.claim.name) <= 86400


async def test_a_key_is_one_callers_own(claims: IdempotencyClaims) -> None:
    turns = [await claims.claim(ask) for ask in (asking(), asking(caller="guest:1.2.3.4"), asking(key="other"))]
    assert {turn.what for turn in turns} == {"fresh"}
    assert len({turn.task_id for turn in turns}) == 3


async def test_another_body_is_refused_before_and_after(network: Network, claims: IdempotencyClaims) -> None:
    await network.sign_in(1)
    first = await claims.claim(asking())
    assert (await claims.claim(asking(body="other"))).what == "reused"
    await submit(network, first)
    assert (await claims.claim(asking(body="other"))).what == "reused"


async def test_the_same_request_sent_to_redis_twice(claims: IdempotencyClaims) -> None:
    ask = asking()
    assert [(await claims.claim(ask)).what for _ in range(2)] == ["fresh", "fresh"]


async def test_a_direct_call_is_joined_and_answers_with_its_end(network: Network, claims: IdempotencyClaims) -> None:
    first = await claims.claim(asking("direct"))
    joiner = asking("direct")
    running = await claims.claim(joiner)
    assert (running.what, running.task_id) == ("running", first.task_id)
    await keep(network, first, UpstreamError("It broke."))
    assert (await claims.claim(joiner, joined=first.task_id)).what == "accepted"
    retry = await claims.claim(asking("direct"))
    assert (retry.what, retry.task_id == first.task_id) == ("fresh", False)
    await keep(network, retry, b'{"a":1}')
    last = await claims.claim(asking("direct"))
    assert (last.what, last.task_id) == ("accepted", retry.task_id)


async def test_a_clients_fault_is_remembered(network: Network, claims: IdempotencyClaims) -> None:
    first = await claims.claim(asking("direct"))
    await keep(network, first, UpstreamInvalidRequest("No such tool."))
    assert (await claims.claim(asking("direct"))).what == "accepted"


async def test_a_cancelled_task_is_not_run_again(network: Network, claims: IdempotencyClaims) -> None:
    await network.sign_in(1)
    first = await claims.claim(asking())
    await submit(network, first)
    await network.tasks.cancel(first.task_id, KEY)
    assert (await claims.claim(asking())).what == "accepted"


async def test_an_asynchronous_replay_is_accepted_however_it_ended(network: Network, claims: IdempotencyClaims) -> None:
    first = await claims.claim(asking("async"))
    await keep(network, first, UpstreamError("It broke."))
    assert (await claims.claim(asking("async"))).what == "accepted"


async def test_an_expired_task_is_not_run_again(network: Network, claims: IdempotencyClaims) -> None:
    first = await claims.claim(asking("direct"))
    await keep(network, first, b'{"a":1}')
    await network.redis.delete(f"relay:task:{first.task_id}")
    assert (await claims.claim(asking("direct"))).what == "accepted"


async def test_what_was_refused_may_be_tried_again_with_another_body(claims: IdempotencyClaims) -> None:
    first = await claims.claim(asking())
    await claims.release(first.claim)
    assert (await claims.claim(asking(body="corrected"))).what == "fresh"


async def test_what_was_on_its_way_when_it_was_released_comes_to_nothing(
    network: Network, claims: IdempotencyClaims
) -> None:
    await network.sign_in(1)
    first = await claims.claim(asking())
    await claims.release(first.claim)
    with pytest.raises(IdempotencyInProgress):
        await submit(network, first)


async def test_what_has_a_task_is_not_released(network: Network, claims: IdempotencyClaims) -> None:
    await network.sign_in(1)
    first = await claims.claim(asking())
    await submit(network, first)
    await claims.release(first.claim)
    assert (await claims.claim(asking())).what == "accepted"


@pytest.mark.parametrize("kind", ["task", "async", "direct"])
async def test_a_process_that_was_slow_writes_nothing_any_more(
    network: Network, claims: IdempotencyClaims, kind: Kind
) -> None:
    await network.sign_in(1)
    slow = await claims.claim(asking(kind))
    await die(network, slow.claim)
    following = await claims.claim(asking(kind))
    assert (following.what, following.task_id == slow.task_id) == ("fresh", False)
    await claims.release(following.claim)  # it was refused
    with pytest.raises(IdempotencyInProgress):
        await (keep(network, slow, b"{}") if kind == "direct" else submit(network, slow))
    assert await network.redis.keys("relay:task:*") == []


async def test_only_direct_calls_are_kept_alive(network: Network, claims: IdempotencyClaims) -> None:
    direct, task = await claims.claim(asking("direct")), await claims.claim(asking(key="other"))
    for turn in (direct, task):
        await die(network, turn.claim)
    await claims.renew()
    assert (await claims.claim(asking("direct"))).what == "running"
    assert (await claims.claim(asking(key="other"))).what == "fresh"
    claims.settle(direct.claim)
    await die(network, direct.claim)
    await claims.renew()
    assert (await claims.claim(asking("direct"))).what == "fresh"


async def test_a_claim_that_was_lost_is_not_renewed(network: Network, claims: IdempotencyClaims) -> None:
    slow = await claims.claim(asking("direct"))
    await die(network, slow.claim)
    other = IdempotencyClaims(network.scripts, Signals(network.redis))
    taken = await other.claim(asking("direct"))
    await die(network, taken.claim)
    await claims.renew()
    assert await network.redis.hget(taken.claim.name, "until_ms") == b"0"


async def test_the_store_knows_no_key(network: Network, claims: IdempotencyClaims) -> None:
    await claims.claim(asking(key="secret-ish"))
    for name in await network.redis.keys("*"):
        assert b"secret-ish" not in name
