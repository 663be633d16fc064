"""Sessions: renewed, taken over, run out, ended by an operator; and the broker users that go with them."""

from __future__ import annotations

import pytest

from coordinator.store.acl import user_name
from coordinator.store.nodes import Banned, NotStaked, SessionEnded
from tests.unit.store.network import MODEL, Network, node_address


async def going(network: Network) -> set[str]:
    """The broker users that whoever sweeps has to remove now."""
    return set((await network.tasks.sweep()).users)


async def pass_last_pop(network: Network, node: str, session: str) -> None:
    await network.redis.zadd("relay:users", {user_name(node, session): 0}, xx=True)


async def end_session(network: Network, node: str) -> None:
    """As if its time had passed."""
    await network.redis.hset(f"relay:node:{node}", "until_ms", "1")


async def test_a_renewed_session_disturbs_nothing(network: Network) -> None:
    node = await network.sign_in(1, slots=3)
    task = await network.submit()
    first = network.sessions[node]
    opened = await network.open_session(node, previous=first, slots=3)
    assert opened.cut_off == ()
    second = await network.submit()  # between the grant and the first heartbeat
    assert await network.held(node) == {f"{task}#1", f"{second}#1"}
    reply = await network.beat(node, f"{task}#1")
    assert (reply.cancelled, reply.expected) == ((), (f"{second}#1",))
    assert await network.held(node) == {f"{task}#1", f"{second}#1"}
    assert len(await network.envelopes(node)) == 2


async def test_the_old_user_outlives_the_first_heartbeat_by_a_last_pop(network: Network) -> None:
    node = await network.sign_in(1)
    first = network.sessions[node]
    await network.open_session(node, previous=first)
    await network.beat(node)
    assert await going(network) == set()
    left = await network.redis.zscore("relay:users", user_name(node, first))
    seconds, _ = await network.redis.time()
    assert 0 < left - 1000 * seconds < 7000
    with pytest.raises(SessionEnded) as ended:
        await network.beat(node, session=first)
    assert ended.value.superseded
    await pass_last_pop(network, node, first)
    assert await going(network) == {user_name(node, first)}


async def test_until_the_first_heartbeat_the_session_before_is_as_good(network: Network) -> None:
    """Its grant may never have arrived: the node knows no other."""
    node = await network.sign_in(1)
    first = network.sessions[node]
    lost = await network.open_session(node, previous=first)
    await network.beat(node, session=first)
    again = await network.open_session(node, previous=first)
    assert again.cut_off == (user_name(node, lost.session),)
    await network.beat(node, session=first)
    await network.beat(node)
    with pytest.raises(SessionEnded):
        await network.beat(node, session=first)


async def test_after_an_outage_a_lost_grant_makes_no_stranger_of_a_node(network: Network) -> None:
    """It was given up as dead, signs in anew with the session that it had, and the answer never arrives."""
    node = await network.sign_in(1)
    dead = network.sessions[node]
    await network.leave(node)
    lost = await network.open_session(node, previous=dead)
    with pytest.raises(SessionEnded) as ended:
        await network.beat(node, session=dead)
    assert not ended.value.superseded
    again = await network.open_session(node, previous=dead)
    assert again.cut_off == (user_name(node, lost.session),)
    await network.beat(node)
    with pytest.raises(SessionEnded) as ended:
        await network.open_session(node, previous=dead)
    assert ended.value.superseded


async def test_a_renewal_before_the_first_heartbeat_of_the_last_one(network: Network) -> None:
    node = await network.sign_in(1)
    for _ in range(3):
        await network.open_session(node, previous=network.sessions[node])
    await network.beat(node)
    assert await network.redis.hget(f"relay:node:{node}", "previous") is None


async def test_a_session_of_an_older_version_is_over_and_can_be_renewed(network: Network) -> None:
    node = await network.sign_in(1)
    first = network.sessions[node]
    await network.redis.hdel(f"relay:node:{node}", "until_ms")
    with pytest.raises(SessionEnded) as ended:
        await network.beat(node)
    assert not ended.value.superseded
    await network.open_session(node, previous=first)
    await network.beat(node)


async def test_a_draining_node_that_renews_goes_on_draining(network: Network) -> None:
    node = await network.sign_in(1)
    await network.beat(node, draining=True)
    await network.open_session(node, previous=network.sessions[node])
    assert await network.nodes.serving([MODEL]) == set()


async def test_a_takeover_cuts_the_old_process_off_at_once(network: Network) -> None:
    node = await network.sign_in(1)
    first = network.sessions[node]
    opened = await network.open_session(node)
    assert opened.cut_off == (user_name(node, first),)
    assert await going(network) == {user_name(node, first)}  # should the process that cuts it off die before
    with pytest.raises(SessionEnded) as ended:
        await network.beat(node, session=first)
    assert ended.value.superseded


async def test_whoever_was_taken_over_from_can_not_renew(network: Network) -> None:
    node = await network.sign_in(1)
    first = network.sessions[node]
    await network.sign_in(1)
    living = network.sessions[node]
    with pytest.raises(SessionEnded) as ended:
        await network.open_session(node, previous=first)
    assert ended.value.superseded
    await network.beat(node, session=living)


async def test_what_a_process_held_that_is_gone_runs_elsewhere_at_once(network: Network) -> None:
    node = await network.sign_in(1)
    kept, lost = await network.submit(), await network.submit()
    other = await network.sign_in(2)
    await network.open_session(node)
    reply = await network.beat(node, f"{kept}#1")
    assert reply.cancelled == ()
    assert (await network.held(node), await network.held(other)) == ({f"{kept}#1"}, {f"{lost}#2"})
    assert await network.envelopes(node) == []


async def test_a_session_ends_when_its_time_is_over(network: Network) -> None:
    node = await network.sign_in(1)
    task = await network.submit()
    first = network.sessions[node]
    await end_session(network, node)
    with pytest.raises(SessionEnded) as ended:
        await network.beat(node, f"{task}#1")
    assert not ended.value.superseded
    await network.open_session(node, previous=first)  # the same process: it keeps what it has
    await network.beat(node, f"{task}#1")
    assert await network.held(node) == {f"{task}#1"}


async def test_its_user_goes_when_a_session_has_run_out_died_or_left(network: Network) -> None:
    nodes = [await network.sign_in(number) for number in (1, 2, 3)]
    names = [user_name(node, network.sessions[node]) for node in nodes]
    assert await going(network) == set()
    await pass_last_pop(network, nodes[0], network.sessions[nodes[0]])
    assert names[1] in (await network.silence(nodes[1])).users
    await network.leave(nodes[2])
    assert await going(network) == set(names)


async def test_a_process_whose_session_died_may_ask_twice(network: Network) -> None:
    """The first grant was lost with the API or Redis: nobody has taken its key, so it is not told to go."""
    node = await network.sign_in(1)
    first = network.sessions[node]
    await network.silence(node)
    lost = await network.open_session(node, previous=first)
    again = await network.open_session(node, previous=first)
    assert again.cut_off == (user_name(node, lost.session),)
    with pytest.raises(SessionEnded) as ended:
        await network.beat(node, session=first)
    assert not ended.value.superseded
    await network.beat(node)
    with pytest.raises(SessionEnded) as ended:
        await network.open_session(node, previous=lost.session)
    assert ended.value.superseded


async def test_a_silent_node_gives_up_what_it_was_given_last_as_well(network: Network) -> None:
    node = await network.sign_in(1)
    await network.submit()
    other = await network.sign_in(2)
    await network.redis.zadd("relay:nodes", {node: 0})
    await network.tasks.sweep()
    assert len(await network.held(other)) == 1


async def test_a_banned_node_is_out_at_once_and_stays_out(network: Network) -> None:
    node, other = await network.sign_in(1), await network.sign_in(2)
    for _ in range(2):
        await network.submit()
    session = network.sessions[node]
    await network.nodes.ban(node, "sold us nonsense")
    assert await network.held(node) == set()
    assert len(await network.held(other)) == 2
    assert await going(network) == {user_name(node, session)}
    with pytest.raises(SessionEnded):
        await network.beat(node)
    with pytest.raises(Banned, match="sold us nonsense"):
        await network.open_session(node, previous=session)
    assert await network.nodes.banned() == {node: "sold us nonsense"}
    assert await network.nodes.unban(node)
    assert not await network.nodes.unban(node)
    await network.sign_in(1)


async def test_an_address_can_be_banned_before_it_shows_up(network: Network) -> None:
    await network.nodes.ban(node_address(1), "known from elsewhere")
    with pytest.raises(Banned):
        await network.sign_in(1)


async def test_a_node_whose_stake_went_is_out_at_its_next_heartbeat(network: Network) -> None:
    node, other = await network.sign_in(1), await network.sign_in(2)
    await network.submit()
    await network.redis.hset("relay:stakes", node, "0xP 100 0")
    await network.beat(node, *await network.held(node), stake_wei=100)
    await network.redis.hset("relay:stakes", node, "0xP 99 0")
    with pytest.raises(NotStaked):
        await network.beat(node, stake_wei=100)
    assert (await network.held(node), len(await network.held(other))) == (set(), 1)
