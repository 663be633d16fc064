"""What a storm rages over: a network of real nodes, each with a backend of its own, and the clients' keys."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from eth_keys.datatypes import PrivateKey
from redis.asyncio import Redis

from coordinator.protocol.session import STANDING_PATH
from scripts.network.children import Recipe
from scripts.network.home import Home
from scripts.network.keys import account
from scripts.network.network import Network, Plan
from scripts.network.wire import Refused, call
from scripts.storm.hostile import key_of
from scripts.storm.options import Options
from scripts.storm.rogue import signed
from scripts.storm.schedule import Strike

CLIENT_KEYS = 3
# Shorter than an operator would choose, so that a minute shows what they do; the lease is the default.
SETTINGS = {
    "RELAY_ATTEMPT_TIMEOUT_SECONDS": "20",
    "RELAY_FIRST_TOKEN_SECONDS": "6",
    "RELAY_TASK_TIMEOUT_SECONDS": "45",
    "NODE_REQUEST_TIMEOUT_SECONDS": "12",
    "NODE_SILENCE_SECONDS": "5",
}
CALL_SECONDS = 90.0  # longer than a task may take


@dataclass(frozen=True, slots=True)
class Ground:
    """`front`: where nodes call the coordinator; `doors`: its API processes, for clients.

    `sessions`: one a client's key; `backends`: the ports of the nodes' backends, by their numbers from 1.
    """

    network: Network
    up: dict[str, Any]
    front: str
    doors: list[str]
    addresses: list[str]
    backends: list[int]
    sessions: list[aiohttp.ClientSession]
    stranger: aiohttp.ClientSession
    redis: Redis


@asynccontextmanager
async def ground(options: Options, strikes: tuple[Strike, ...], tell: Callable[[str], None]) -> AsyncIterator[Ground]:
    """Everything started; stopped at the end, and removed unless `options.state` says where to keep it."""
    async with contextlib.AsyncExitStack() as stack:
        where = options.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relay-storm-")))
        home = Home(where / "network", fresh=True)
        stack.callback(home.close)
        one, other, front, *backends = (home.port(f"storm {number}") for number in range(options.nodes + 4))
        *own, direct = backends  # direct mode's is always well
        url = f"http://127.0.0.1:{front}"
        settings = {**SETTINGS, "NODE_COORDINATOR_URL": url}
        plan = Plan(one, options.nodes, options.slots, direct, tuple(own), settings)
        network = Network(home, plan, tell)
        stack.push_async_callback(network.stop)
        _admit(home, options.seed, strikes)
        await network.family.start(
            _server(home, "balancer", "balancer", front, one, other),
            *(_server(home, f"backend {at}", "backend", port) for at, port in enumerate(backends, 1)),
        )
        up = await network.start()
        await network.family.start(network.another_api("api 2", other))
        keys = await asyncio.to_thread(_keys, up)
        sessions = [await stack.enter_async_context(_session(key)) for key in keys]
        redis = Redis.from_url(up["redis_url"], protocol=2, decode_responses=True)
        stack.push_async_callback(redis.aclose)
        addresses = [account(_key_file(home, number)) for number in range(1, options.nodes + 1)]
        stranger = await stack.enter_async_context(_session(None))
        doors = [up["base_url"], f"http://127.0.0.1:{other}"]
        yield Ground(network, up, url, doors, addresses, own, sessions, stranger, redis)


async def standing(ground: Ground, number: int) -> dict[str, Any]:
    """What the coordinator thinks of a node; empty where it doesn't say."""
    key_file = _key_file(ground.network.home, number)
    key = PrivateKey(bytes.fromhex(key_file.read_text().strip().removeprefix("0x")))
    headers = signed(key, ground.front, STANDING_PATH, b"{}")
    try:
        told: dict[str, Any] = await asyncio.to_thread(call, f"{ground.front}{STANDING_PATH}", {}, headers=headers)
    except (OSError, Refused):
        return {}
    return told


def _key_file(home: Home, number: int) -> Path:
    return home.path / "nodes" / str(number) / "node.key"


def _server(home: Home, name: str, module: str, port: int, *words: int) -> Recipe:
    """One of ours that listens on `port`."""

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    command = [sys.executable, "-m", f"scripts.storm.{module}", str(port), *map(str, words)]
    return Recipe(name, lambda: command, home.log(name), ready=listens)


def _admit(home: Home, seed: int, strikes: tuple[Strike, ...]) -> None:
    """Hostile nodes are strangers who were let in. The network adds its own nodes to the file."""
    addresses = (key_of(seed, strike.number).public_key.to_checksum_address() for strike in strikes)
    (home.path / "nodes.allow").write_text("".join(f"{address}  # a rogue\n" for address in addresses))


def _keys(up: dict[str, Any]) -> list[str]:
    """Several clients: the one that the network made, and some of its superkey's."""
    headers = {"authorization": f"Bearer {up['superkey']}"}
    made = [
        call(f"{up['base_url']}/v2/customer/keys", {"name": f"storm {number}"}, headers=headers)
        for number in range(1, CLIENT_KEYS)
    ]
    return [up["api_key"], *(row["key"] for row in made)]


def _session(key: str | None) -> aiohttp.ClientSession:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return aiohttp.ClientSession(
        headers=headers,
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3),
        timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
    )
