"""Sessions and nonces."""

from __future__ import annotations

from datetime import timedelta

import pytest

from coordinator.protocol.session import Heartbeat, NoWork, SessionRequest
from coordinator.protocol.signing import TIME_WINDOW_MS
from coordinator.store.challenges import CHALLENGE_LIFE, Challenges
from coordinator.store.nodes import ChallengeUnknown, Replayed, SessionEnded
from tests.unit.store.network import MODEL, Network, new_nonce, node_address


async def test_a_challenge_is_good_once_and_for_its_own_node(network: Network) -> None:
    node, other = node_address(1), node_address(2)
    challenge = await network.nodes.challenge(node)
    foreign = SessionRequest(node=other, challenge=challenge, models=(MODEL,), slots=1)
    with pytest.raises(ChallengeUnknown):
        await network.nodes.open_session(foreign, new_nonce())
    request = SessionRequest(node=node, challenge=challenge, models=(MODEL,), slots=1)
    await network.nodes.open_session(request, new_nonce())
    with pytest.raises(ChallengeUnknown):
        await network.nodes.open_session(request, new_nonce())


async def test_challenges_leave_nothing_in_the_store(network: Network) -> None:
    """Anybody may ask for one, for an address that stands on chain: that must neither fill the store nor crowd out the
    one that the node itself has asked for."""
    node = node_address(1)
    first = await network.nodes.challenge(node)
    before = await network.redis.dbsize()
    others = {await network.nodes.challenge(node) for _ in range(200)}
    assert len(others) == 200
    assert await network.redis.dbsize() == before
    request = SessionRequest(node=node, challenge=first, models=(MODEL,), slots=1)
    await network.nodes.open_session(request, new_nonce())
    assert 0 < await network.redis.pttl(f"relay:challenge:{node}:{first}") <= 61_000


@pytest.mark.parametrize("made_up", ["", "ab" * 32, "é" * 64, "f" * 12 + "0" * 84])
async def test_a_challenge_that_was_never_given_is_unknown(network: Network, made_up: str) -> None:
    node = node_address(1)
    given = await network.nodes.challenge(node)
    for challenge in (made_up, given[:-1], given[:-1] + ("0" if given[-1] != "0" else "1"), "f" + given[1:]):
        request = SessionRequest(node=node, challenge=challenge, models=(MODEL,), slots=1)
        with pytest.raises(ChallengeUnknown):
            await network.nodes.open_session(request, new_nonce())


async def test_a_challenge_is_good_for_a_minute(network: Network) -> None:
    node, past = node_address(1), Challenges(network.redis)
    old = await past.new(node, ago=CHALLENGE_LIFE)
    with pytest.raises(ChallengeUnknown):
        await network.nodes.open_session(
            SessionRequest(node=node, challenge=old, models=(MODEL,), slots=1), new_nonce()
        )
    young = await past.new(node, ago=CHALLENGE_LIFE - timedelta(seconds=30))
    await network.nodes.open_session(SessionRequest(node=node, challenge=young, models=(MODEL,), slots=1), new_nonce())


async def test_a_second_start_takes_over_and_the_first_is_told(network: Network) -> None:
    node = await network.sign_in(1)
    first = network.sessions[node]
    await network.sign_in(1)
    with pytest.raises(SessionEnded) as ended:
        await network.beat(node, session=first)
    assert ended.value.superseded
    await network.beat(node)


async def test_after_leaving_a_session_is_over(network: Network) -> None:
    node = await network.sign_in(1)
    await network.leave(node)
    with pytest.raises(SessionEnded) as ended:
        await network.beat(node)
    assert not ended.value.superseded
    assert await network.nodes.serving([MODEL]) == set()


async def test_a_new_session_gets_no_work_before_its_first_heartbeat(network: Network) -> None:
    node = node_address(1)
    await network.open_session(node, slots=1)
    task = await network.submit()
    assert await network.held(node) == set()
    await network.beat(node)
    assert await network.held(node) == {f"{task}#1"}


async def test_what_it_reports_of_an_earlier_process_brings_it_none_either(network: Network) -> None:
    """Its first heartbeat empties the queue: what was in there would be lost, and counted."""
    node = await network.sign_in(1, slots=2)
    before = await network.submit()
    await network.beat(node, f"{before}#1")
    await network.open_session(node, slots=2)
    waiting = await network.submit()
    assert await network.complete(f"{before}#1", node) is None
    assert await network.held(node) == set()
    await network.beat(node)
    assert await network.held(node) == {f"{waiting}#1"}
    assert len(await network.envelopes(node)) == 1


async def test_a_dead_node_that_comes_back_signs_in_and_works_again(network: Network) -> None:
    node = await network.sign_in(1)
    await network.silence(node)
    assert await network.nodes.serving([MODEL]) == set()
    [row] = await network.nodes.all()
    assert not row.alive
    with pytest.raises(SessionEnded) as ended:
        await network.beat(node)
    assert not ended.value.superseded
    await network.sign_in(1)
    await network.submit()
    assert len(await network.held(node)) == 1


async def test_a_node_without_work_is_told_why(network: Network) -> None:
    node = await network.sign_in(1, slots=1)
    assert (await network.beat(node)).no_work is NoWork.NO_DEMAND
    task = await network.submit()
    assert (await network.beat(node, f"{task}#1")).no_work is NoWork.FULL
    assert (await network.beat(node, f"{task}#1", draining=True)).no_work is NoWork.DRAINING


async def test_an_attempt_named_again_and_again_is_looked_at_once(network: Network) -> None:
    node = await network.sign_in(1)
    task = await network.submit()
    reply = await network.beat(node, *[f"{task}#1", f"{task}#9"] * 100, answering=(f"{task}#1",) * 100)
    assert reply.cancelled == (f"{task}#9",)
    assert await network.redis.hget(f"relay:task:{task}", "answering:1") is not None


async def test_a_draining_node_gets_nothing_new(network: Network) -> None:
    first, second = await network.sign_in(1), await network.sign_in(2)
    await network.beat(first, draining=True)
    for _ in range(3):
        await network.submit()
    assert await network.held(first) == set()
    assert len(await network.held(second)) == 2


async def test_a_nonce_is_good_once_and_remembered_for_sessions_alone(network: Network) -> None:
    node, other = await network.sign_in(1), await network.sign_in(2)
    beat = Heartbeat(session=network.sessions[node])
    await network.nodes.heartbeat(node, beat, "n" * 16)
    with pytest.raises(Replayed):
        await network.nodes.heartbeat(node, beat, "n" * 16)
    with pytest.raises(Replayed):
        await network.nodes.leave(node, beat.session, "n" * 16)
    await network.nodes.heartbeat(other, Heartbeat(session=network.sessions[other]), "n" * 16)
    assert await network.redis.pttl(f"relay:nonce:{node}:{'n' * 16}") > 2 * TIME_WINDOW_MS
    nonces = len(await network.redis.keys("relay:nonce:*"))
    with pytest.raises(SessionEnded):
        await network.nodes.heartbeat(node_address(3), beat, new_nonce())
    assert len(await network.redis.keys("relay:nonce:*")) == nonces


async def test_operators_see_every_node(network: Network) -> None:
    node = await network.sign_in(1, slots=3)
    await network.submit()
    [row] = await network.nodes.all()
    assert (row.node, row.slots, row.held, row.alive, row.models) == (node, 3, 1, True, (MODEL,))
