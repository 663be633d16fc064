"""Strikes: what each fault does to a running network, and that it is over when its time is."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from scripts.network.network import Network
from scripts.network.wire import Refused, call
from scripts.storm.backend import FINE
from scripts.storm.clock import Clock
from scripts.storm.faults import Kind
from scripts.storm.hostile import rogue
from scripts.storm.rogue import Setting
from scripts.storm.schedule import Strike
from scripts.storm.watch import Watch

APIS = ("api", "api 2")


@dataclass(slots=True)
class Struck:
    """One strike as it was. `caught`: attempts that it met, answers that it spoiled, connections that it cut."""

    strike: Strike
    at: float
    until: float = 0.0
    caught: int = 0
    replies: Counter[str] = field(default_factory=Counter)
    breaches: list[str] = field(default_factory=list)


class Injector:
    """`addresses`: of the honest nodes, by number from 1; `backends`: their backends' ports in the same order."""

    def __init__(
        self, network: Network, addresses: list[str], backends: list[int], watch: Watch, setting: Setting, seed: int
    ) -> None:
        self._network, self._family = network, network.family
        self._addresses, self._backends = addresses, backends
        self._watch, self._setting, self._seed = watch, setting, seed
        self.struck: list[Struck] = []

    async def run(self, strikes: tuple[Strike, ...], clock: Clock, redis: Redis) -> None:
        """Returns when all are over."""
        self._clock, self._redis = clock, redis
        async with asyncio.TaskGroup() as group:
            for strike in strikes:
                await asyncio.sleep(max(0.0, strike.at - clock.now()))
                group.create_task(self._one(strike))

    async def _one(self, strike: Strike) -> None:
        struck = Struck(strike, round(self._clock.now(), 2))
        self.struck.append(struck)
        if strike.fault.kind is Kind.BACKEND:
            await self._spoil(struck)
        elif strike.fault.kind is Kind.HOSTILE:
            await self._misbehave(struck)
        else:
            acts: dict[str, Callable[[Struck], Awaitable[None]]] = {
                "kill": self._kill_node,
                "node_restart": self._restart_node,
                "drain": self._drain,
                "freeze": self._freeze,
                "redis_restart": self._kill("redis"),
                "broker_cut": self._cut,
                "api_restart": self._restart_api,
                "chain_restart": self._kill("chain"),
                "chain_writer_kill": self._kill("chain writer"),
            }
            await acts[strike.fault.name](struck)
        struck.until = round(self._clock.now(), 2)

    async def _spoil(self, struck: Struck) -> None:
        strike = struck.strike
        before = (await self._mood(strike.node, strike.fault.name, strike.share)).get(strike.fault.name, 0)
        await asyncio.sleep(strike.seconds)
        struck.caught = (await self._mood(strike.node, FINE, 1.0)).get(strike.fault.name, 0) - before

    async def _mood(self, node: int, mood: str, share: float) -> dict[str, int]:
        """How many answers the backend has spoiled by now, by mood."""
        url = f"http://127.0.0.1:{self._backends[node - 1]}/mood"
        told: dict[str, Any] = await asyncio.to_thread(call, url, {"mood": mood, "share": share})
        return dict(told["spoiled"])

    async def _misbehave(self, struck: Struck) -> None:
        strike = struck.strike
        node = rogue(strike.fault.name, self._setting, self._seed, strike.number, strike.turn)
        await node.run(strike.seconds)
        struck.caught, struck.replies, struck.breaches = node.deeds.taken, node.deeds.replies, node.deeds.breaches

    async def _kill_node(self, struck: Struck) -> None:
        node = struck.strike.node
        held = await self._watch.held(self._addresses[node - 1])
        self._family.kill_one(f"node {node}", struck.strike.seconds)
        self._note(struck, held)
        await asyncio.sleep(struck.strike.seconds)

    async def _restart_node(self, struck: Struck) -> None:
        node = struck.strike.node
        held = await self._watch.held(self._addresses[node - 1])
        pid = self._family.kill_one(f"node {node}")
        self._note(struck, held)
        await self._until_back(f"node {node}", pid)

    async def _drain(self, struck: Struck) -> None:
        node = struck.strike.node
        held = await self._watch.held(self._addresses[node - 1])
        child = self._family.children[f"node {node}"]
        child.signal(signal.SIGTERM)
        self._note(struck, held)
        await self._until_back(f"node {node}", child.pid)

    async def _freeze(self, struck: Struck) -> None:
        node = struck.strike.node
        held = await self._watch.held(self._addresses[node - 1])
        child = self._family.children[f"node {node}"]
        child.signal(signal.SIGSTOP)
        self._note(struck, held)
        try:
            await asyncio.sleep(struck.strike.seconds)
        finally:
            child.signal(signal.SIGCONT)

    def _note(self, struck: Struck, held: list[str]) -> None:
        struck.caught = len(held)
        self._watch.follow(struck.strike.fault.name, struck.strike.node, held)

    def _kill(self, name: str) -> Callable[[Struck], Awaitable[None]]:
        async def act(struck: Struck) -> None:
            pid = self._family.kill_one(name, struck.strike.seconds)
            await self._until_back(name, pid)

        return act

    async def _restart_api(self, struck: Struck) -> None:
        """Both at once by SIGKILL: an outage. The next time one of them by SIGTERM: an upgrade."""
        if struck.strike.turn % 2 == 0:
            pids = {name: self._family.kill_one(name) for name in APIS}
        else:
            child = self._family.children[APIS[0]]
            child.signal(signal.SIGTERM)
            pids = {APIS[0]: child.pid}
        for name, pid in pids.items():
            await self._until_back(name, pid)

    async def _until_back(self, name: str, pid: int) -> None:
        """Another process of that name answers."""
        while self._family.pid(name) == pid or not await self._family.children[name].recipe.ready():
            await asyncio.sleep(0.05)

    async def _cut(self, struck: Struck) -> None:
        with contextlib.suppress(RedisError, OSError):
            clients = await self._redis.client_list()
            nodes = [client["id"] for client in clients if client.get("user", "").startswith("node-")]
            for number in nodes:
                struck.caught += int(await self._redis.client_kill_filter(_id=number))

    async def heal(self) -> None:
        """Nothing is wrong any more when it returns."""
        for number in range(1, len(self._backends) + 1):
            with contextlib.suppress(OSError, Refused):
                await self._mood(number, FINE, 1.0)
        for name, child in self._family.children.items():
            if name.startswith("node "):
                child.signal(signal.SIGCONT)
