"""The law of the broker's users: a node's own, tried with every command that the server knows, pops its own queue and
reaches nothing else: no key of another node's or of the store's, no channel, no command of an operator's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from coordinator.protocol.session import BrokerCredential
from coordinator.store.acl import BrokerUsers, UserGone, user_name
from coordinator.store.connection import connect
from tests.parts.servers import RedisServer
from tests.unit.store.network import Network, node_address

# What remains within reach: its own name and password, its own queue, and what a connection says of itself.
REACHABLE = {"auth", "brpop", "client|setinfo", "client|setname", "hello", "ping", "quit", "select"}
FOREIGN = ("relay:task:opengpu:x", "relay:nodes", f"broker:{node_address(2)}:node.{node_address(2)}")


@dataclass
class Neighbours:
    """Two nodes signed in. `queue` is the first one's own, `credential` what it was given."""

    network: Network
    users: BrokerUsers
    credential: BrokerCredential

    @property
    def queue(self) -> str:
        return f"{self.credential.key_prefix}{self.credential.queue}"

    @asynccontextmanager
    async def own(self) -> AsyncIterator[Redis]:
        """As the node itself, one connection at a time."""
        client: Redis = Redis.from_url(self.credential.url, single_connection_client=True, protocol=2)
        try:
            yield client
        finally:
            await client.aclose()

    async def try_(self, *command: str) -> str:
        """'denied', or what came: on a connection of its own, since some commands end it or change what it is."""
        async with self.own() as own:
            try:
                return f"said {await own.execute_command(*command)!r}"  # type: ignore[no-untyped-call]
            except NoPermissionError:
                return "denied"
            except RedisError as error:
                return "denied" if "NOPERM" in str(error) else f"error {error}"


@pytest.fixture
async def neighbours(network: Network, redis: Redis, redis_server: RedisServer) -> Neighbours:
    users = BrokerUsers(redis, f"redis://{redis_server.address}")
    first, second = await network.sign_in(1), await network.sign_in(2)
    credential = await users.grant(first, network.sessions[first])
    await users.grant(second, network.sessions[second])
    await redis.set(FOREIGN[0], "secret")
    await redis.lpush(FOREIGN[2], "another's work")
    return Neighbours(network, users, credential)


async def commands(redis: Redis) -> dict[str, int]:
    """All that the server knows, subcommands too -> arity."""
    known: dict[str, int] = {}

    def note(rows: list[Any]) -> None:
        for row in rows:
            known[row[0].decode().lower()] = int(row[1])
            note(row[9] if len(row) > 9 else [])

    raw = await redis.connection_pool.get_connection()
    try:
        await raw.send_command("COMMAND")
        note(await raw.read_response())
    finally:
        await redis.connection_pool.release(raw)
    for parent in ("acl", "client", "cluster", "command", "config", "debug", "latency", "memory", "module", "object",
                   "pubsub", "script", "slowlog", "xgroup", "xinfo"):  # fmt: skip
        if parent in known and not any(name.startswith(f"{parent}|") for name in known):
            known |= {f"{parent}|{sub}": -2 for sub in _SUBCOMMANDS[parent]}  # Redis 6.2 doesn't list them
    return known


_SUBCOMMANDS = {
    "acl": ("whoami", "list", "users", "getuser", "setuser", "deluser", "cat", "log", "save", "load", "genpass"),
    "client": ("id", "info", "list", "kill", "pause", "getname", "tracking", "no-evict", "reply", "unblock", "caching"),
    "cluster": ("info", "nodes", "slots", "reset"), "command": ("count", "info", "getkeys"),
    "config": ("get", "set", "rewrite", "resetstat"), "debug": ("object", "sleep", "segfault"),
    "latency": ("latest", "reset"), "memory": ("usage", "stats", "purge"), "module": ("list", "load", "unload"),
    "object": ("encoding", "freq", "refcount"), "pubsub": ("channels", "numsub", "numpat"),
    "script": ("load", "exists", "flush", "kill"), "slowlog": ("get", "len", "reset"),
    "xgroup": ("create", "destroy"), "xinfo": ("stream", "groups"),
}  # fmt: skip


async def test_every_command_that_the_server_knows(neighbours: Neighbours) -> None:
    known = await commands(neighbours.network.redis)
    assert len(known) > 200
    before = await _all(neighbours.network.redis)
    reached = set()
    for name, arity in known.items():
        words = name.split("|")
        wanted = max(abs(arity) - len(words), 0)
        for keys in (FOREIGN, (neighbours.queue,)):
            given = [keys[number % len(keys)] for number in range(wanted)]
            if name in REACHABLE:
                continue
            said = await neighbours.try_(*words, *given)
            if said != "denied":
                reached.add((name, said))
    assert not reached
    assert await _all(neighbours.network.redis) == before


async def test_of_what_it_may_send_nothing_reaches_further(neighbours: Neighbours) -> None:
    for foreign in FOREIGN:
        assert await neighbours.try_("BRPOP", foreign, "0.01") == "denied"
        assert await neighbours.try_("BRPOP", neighbours.queue, foreign, "0.01") == "denied"
    for database in range(1, 16):
        async with neighbours.own() as own:
            await own.execute_command("SELECT", str(database))  # type: ignore[no-untyped-call]
            with pytest.raises(NoPermissionError):
                await own.execute_command("KEYS", "*")  # type: ignore[no-untyped-call]
    for name in ("default", user_name(node_address(2), neighbours.network.sessions[node_address(2)])):
        async with neighbours.own() as own:
            with pytest.raises(RedisError):
                await own.execute_command("AUTH", name, "guessed")  # type: ignore[no-untyped-call]


async def test_channels_are_closed_whatever_their_name(neighbours: Neighbours) -> None:
    for command in ("SUBSCRIBE", "PSUBSCRIBE", "PUBLISH", "SPUBLISH"):
        for channel in ("relay:ended", "relay:direct", "*", neighbours.queue):
            said = await neighbours.try_(command, channel, *(["x"] if command.endswith("PUBLISH") else []))
            assert said == "denied" or "unknown command" in said, (command, channel, said)


async def test_it_takes_from_its_own_queue_through_a_restart_until_its_session_ends(
    neighbours: Neighbours, redis_server: RedisServer
) -> None:
    redis, node = neighbours.network.redis, node_address(1)
    await redis.lpush(neighbours.queue, "work")
    redis_server.kill()
    redis_server.start()
    async with neighbours.own() as own:
        assert await own.brpop([neighbours.queue], timeout=1) == (neighbours.queue.encode(), b"work")
        await neighbours.network.leave(node)
        await neighbours.users.remove((await neighbours.network.tasks.sweep()).users)
        with pytest.raises(RedisError):
            await own.ping()
    async with neighbours.own() as own:
        with pytest.raises(AuthenticationError):
            await own.ping()


async def test_a_user_whose_session_ends_while_it_is_made_is_not_left_behind(
    network: Network, redis: Redis, redis_server: RedisServer
) -> None:
    users, node = BrokerUsers(redis, f"redis://{redis_server.address}"), node_address(1)
    opened = await network.open_session(node)
    await network.leave(node)
    await users.remove((await network.tasks.sweep()).users)
    with pytest.raises(UserGone):
        await users.grant(node, opened.session)
    assert await redis.execute_command("ACL", "USERS") == [b"default"]  # type: ignore[no-untyped-call]


async def test_users_go_as_fast_as_sessions_end(network: Network, redis: Redis, redis_server: RedisServer) -> None:
    """Of a network that vanished, or of somebody who signs in again and again: those that are gone but not forgotten
    stand before none that are still there."""
    users = BrokerUsers(redis, f"redis://{redis_server.address}")
    names = [user_name(node_address(number), "0" * 32) for number in range(1, 451)]
    for name in names:
        await redis.execute_command("ACL", "SETUSER", name, "on")  # type: ignore[no-untyped-call]
    await redis.zadd("relay:users", dict.fromkeys(names, 1))
    for _ in range(2):
        await users.remove((await network.tasks.sweep()).users)
    assert await redis.execute_command("ACL", "USERS") == [b"default"]  # type: ignore[no-untyped-call]


async def test_orphans_are_nodes_and_nobody_else(network: Network, redis: Redis, redis_server: RedisServer) -> None:
    """A Redis has users of its operator's, and "node-" begins what people call a program of theirs as well."""
    users, node = BrokerUsers(redis, f"redis://{redis_server.address}"), await network.sign_in(1)
    await users.grant(node, network.sessions[node])
    living = user_name(node, network.sessions[node])
    orphans = {f"node-{node}", user_name(node_address(2), "0" * 32)}
    operators = {"node-exporter", "node-app-12345678", f"node-{node}-backup", "operator"}
    for name in orphans | operators:
        await redis.execute_command("ACL", "SETUSER", name, "on")  # type: ignore[no-untyped-call]
    assert set(await users.remove_orphans()) == orphans
    there = {name.decode() for name in await redis.execute_command("ACL", "USERS")}  # type: ignore[no-untyped-call]
    assert there == operators | {living, "default"}


async def test_a_store_in_another_database_has_its_queues_there(redis_server: RedisServer) -> None:
    store = connect(SecretStr(redis_server.url.removesuffix("/0") + "/3"))
    network, users = Network(store), BrokerUsers(store, f"redis://{redis_server.address}")
    node = await network.sign_in(1)
    credential = await users.grant(node, network.sessions[node])
    await network.submit()
    own: Redis = Redis.from_url(credential.url, protocol=2)
    assert await own.brpop([f"{credential.key_prefix}{credential.queue}"], timeout=1)
    await own.aclose()
    await store.aclose()


async def test_many_sign_in_at_once_and_share_the_saving(
    network: Network, redis: Redis, redis_server: RedisServer
) -> None:
    users = BrokerUsers(redis, f"redis://{redis_server.address}")
    nodes = [node_address(number) for number in range(1, 41)]
    opened = [await network.open_session(node) for node in nodes]
    began = time.monotonic()
    await asyncio.gather(*(users.grant(node, one.session) for node, one in zip(nodes, opened, strict=True)))
    took = time.monotonic() - began
    stats = await redis.info("commandstats")
    saves = stats.get("cmdstat_acl|save", {"calls": 0})["calls"]
    assert saves <= 2 + 4 * took  # at most four a second
    redis_server.kill()
    redis_server.start()
    there = await redis.execute_command("ACL", "USERS")  # type: ignore[no-untyped-call]
    assert {user_name(node, one.session).encode() for node, one in zip(nodes, opened, strict=True)} <= set(there)


async def _all(redis: Redis) -> dict[bytes, bytes]:
    """Every key and what is in it, as far as a node's commands could have changed it."""
    keys = sorted(await redis.keys("*"))
    return {key: await redis.dump(key) for key in keys}
