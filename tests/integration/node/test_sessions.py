"""Sessions over the whole way: a real coordinator, real nodes, a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.lifecycle.policy import Policy
from coordinator.protocol import session as wire
from coordinator.protocol import signing
from coordinator.store.acl import user_name
from coordinator.store.scripts import Scripts
from coordinator.store.standing import standing
from tests.parts.coordinator import SmallNetwork

_RUN_FOR = 4.0  # seconds under load


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[SmallNetwork]:
    async with SmallNetwork(tmp_path, RELAY_SESSION_SECONDS="1.25", RELAY_HEARTBEAT_SECONDS="0.25") as network:
        yield network


async def test_sessions_that_rotate_every_second_under_load_lose_no_attempt(network: SmallNetwork) -> None:
    for number in (1, 2):
        await network.start_node(number)
    tasks: list[str] = []
    end = asyncio.get_running_loop().time() + _RUN_FOR
    while asyncio.get_running_loop().time() < end or await _sessions(network) < 2 * _RUN_FOR:
        tasks += await asyncio.gather(*(network.submit() for _ in range(4)))
        await asyncio.sleep(0.02)
    ends = Counter([(await network.ended(task))["status"] for task in tasks])
    assert ends == {"completed": len(tasks)}
    again = [int(await network.redis.hget(f"relay:task:{task}", "attempt") or 0) for task in tasks]
    assert Counter(again) == {1: len(tasks)}, "attempts were lost"
    for node in network.nodes:
        assert node.process is not None
        assert node.process.poll() is None
        # kombu, left to itself, writes what a stopped consumer still popped to a file
        assert not [line for line in network.log(node.log.name) if line["level"] == "error"]


async def test_a_replay_is_refused_through_restarts_of_api_and_redis(tmp_path: Path) -> None:
    async with SmallNetwork(tmp_path) as network:
        identity = network.identity()
        audience = signing.audience(network.url)

        async def post(path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, object]]:
            reply = await network.http.post(path, content=body, headers=headers)
            return reply.status_code, reply.json()

        def signed(path: str, body: bytes) -> dict[str, str]:
            return signing.sign_request(identity.key, "POST", path, body, audience)

        asked = wire.ChallengeRequest(node=identity.address).model_dump_json().encode()
        _, told = await post(wire.CHALLENGE_PATH, asked, {})
        request = wire.SessionRequest(node=identity.address, challenge=str(told["challenge"]), models=("m",), slots=1)
        sign_in = request.model_dump_json().encode()
        opened = signed(wire.SESSION_PATH, sign_in)
        status, grant = await post(wire.SESSION_PATH, sign_in, opened)
        assert status == 200
        beat = wire.Heartbeat(session=str(grant["session"])).model_dump_json().encode()
        captured = signed(wire.HEARTBEAT_PATH, beat)
        assert (await post(wire.HEARTBEAT_PATH, beat, captured))[0] == 200
        for server in (None, network.api, network.redis_server):
            if server is not None:
                server.kill()
                await asyncio.to_thread(server.start)
            status, said = await post(wire.HEARTBEAT_PATH, beat, captured)
            assert (status, said["error"]["code"]) == (401, "REPLAYED")  # type: ignore[index]
            status, said = await post(wire.SESSION_PATH, sign_in, opened)
            assert (status, said["error"]["code"]) == (401, "CHALLENGE_UNKNOWN")  # type: ignore[index]
        assert (await post(wire.HEARTBEAT_PATH, beat, signed(wire.HEARTBEAT_PATH, beat)))[0] == 200


async def test_a_second_start_takes_over_and_a_ban_ends_it_at_once(tmp_path: Path) -> None:
    async with SmallNetwork(tmp_path, RELAY_HEARTBEAT_SECONDS="0.25") as network:
        address = network.identity().address
        first = await network.start_node()
        session = await _session(network, address)
        network.backend.open.clear()
        task = await network.submit()
        await network.until(lambda: _holds(network, address), "the attempt")
        second = await network.start_node(NODE_STATE_DIR=str(tmp_path / "second"))

        async def taken_over() -> bool:
            return user_name(address, session) not in await network.users()

        await network.until(taken_over, "the old user's end")
        assert first.process is not None
        assert await asyncio.to_thread(first.process.wait, 60) == 3
        network.backend.open.set()
        assert (await network.ended(task))["status"] == "completed"  # what it held ran again at once, on the new one

        assert "is banned: it lied" in await network.command("ban", address, "--reason", "it lied")
        assert await network.users() == set()

        async def told() -> bool:
            return any("it lied" in str(line.get("reason")) for line in network.log("node-1-1.log"))

        await network.until(told, "the ban's reason in the node's log")
        assert second.process is not None
        assert second.process.poll() is None


async def test_users_go_with_their_sessions_and_orphans_at_the_next_start(tmp_path: Path) -> None:
    async with SmallNetwork(tmp_path, RELAY_LEASE_SECONDS="2", RELAY_HEARTBEAT_SECONDS="0.5") as network:
        address = network.identity().address
        await network.start_node()
        await network.redis.execute_command("ACL", "SETUSER", f"node-{address}", "on")  # type: ignore[no-untyped-call]
        await network.redis.execute_command("ACL", "SETUSER", "operator", "on")  # type: ignore[no-untyped-call]
        network.api.kill()
        network.nodes[0].kill()
        await network.start_api()

        async def gone() -> bool:
            return await network.users() == {"operator"} and not await network.redis.exists("relay:users")

        await network.until(gone, "the end of all nodes' users, on disk as well")
        network.redis_server.kill()
        await asyncio.to_thread(network.redis_server.start)
        assert await network.users() == {"operator"}


@pytest.mark.parametrize("down", ["api", "redis"])
async def test_an_outage_of_ours_costs_a_node_neither_work_nor_record(tmp_path: Path, down: str) -> None:
    settings = {"RELAY_LEASE_SECONDS": "4", "RELAY_HEARTBEAT_SECONDS": "0.4"}
    async with SmallNetwork(tmp_path, **settings) as network:
        address = network.identity().address
        await network.start_node()
        session = await _session(network, address)
        network.backend.open.clear()
        task = await network.submit()
        await network.until(lambda: _runs(network, task), "the attempt")
        lease = await network.redis.zscore("relay:leases", f"{task}#1") or 0
        server = network.api if down == "api" else network.redis_server
        server.kill()

        async def over() -> bool:
            return time.time() > lease / 1000 + 0.5  # the same clock as Redis's

        await network.until(over, "the end of the lease")
        await asyncio.to_thread(server.start)
        seconds, _ = await network.redis.time()

        async def beats() -> bool:
            return int(await network.redis.hget(f"relay:node:{address}", "seen_ms") or 0) > 1000 * (seconds + 1)

        await network.until(beats, "the node's next heartbeats")
        network.backend.open.set()
        ended = await network.ended(task)
        assert ended["status"] == "completed"
        assert await network.redis.hget(f"relay:task:{task}", "attempt") == b"1"
        assert await _session(network, address) == session
        seen = await standing(Scripts(network.redis, Policy()), address)
        assert (seen.faults, seen.timeouts) == (0, 0)
        assert seen.successes > 0


async def _sessions(network: SmallNetwork) -> int:
    """How many there have been, by the users that were made for them."""
    stats = await network.redis.info("commandstats")
    return int(stats["cmdstat_acl|setuser" if "cmdstat_acl|setuser" in stats else "cmdstat_acl"]["calls"])


async def _session(network: SmallNetwork, address: str) -> str:
    return (await network.redis.hget(f"relay:node:{address}", "session") or b"").decode()


async def _runs(network: SmallNetwork, task: str) -> bool:
    return await network.redis.hget(f"relay:task:{task}", "state") == b"running"


async def _holds(network: SmallNetwork, address: str) -> int:
    return int(await network.redis.scard(f"relay:held:{address}"))
