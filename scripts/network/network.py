"""The network: all its processes, in order, and the file by which other tools find it.

redis, chain ──► contracts deployed, client key, model server ──► api, chain writer, stakes ──► nodes ──► up.json
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from scripts.network import relay
from scripts.network.chain import CHAIN_ID, Chain
from scripts.network.children import Family, Recipe, together
from scripts.network.home import Home
from scripts.network.keys import account, private_key, remembered
from scripts.network.redis import Redis
from scripts.network.stake import STAKE_WEI, stake_nodes


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start: the API's port (0: any free one), how many nodes, and of how many slots each.

    `backend_port`: a model server that listens already, taken instead of the tiny model by nodes and by direct mode.
    `backend_ports`: one a node, where each is to have its own. `settings`: more of the coordinator's and the nodes'
    environment, RELAY_… and NODE_…
    """

    port: int
    nodes: int
    slots: int = 4
    backend_port: int | None = None
    backend_ports: tuple[int, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Network:
    """Running from `start` to `stop`. `tell` gets lines for the user."""

    home: Home
    plan: Plan
    tell: Callable[[str], None]
    up: dict[str, Any] = field(default_factory=dict)
    family: Family = field(init=False)
    chain: Chain = field(init=False)
    redis: Redis = field(init=False)
    _saving: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.family = Family(self.tell, self._write_up)
        path = self.home.path
        self.redis = Redis.at(path / "redis", self.home.port("redis"), path / "keys/redis.password")
        self.chain = Chain(path / "chain", self.home.port("chain"))

    async def start(self) -> dict[str, Any]:
        """The content of up.json, written when all is ready. Raises StartFailed, Unusable."""
        port = self.home.api_port(self.plan.port)
        base_url = f"http://127.0.0.1:{port}"
        log = self.home.log
        await self.family.start(self.redis.recipe(log("redis")), self.chain.recipe(log("chain")))
        self._saving = asyncio.create_task(self.chain.keep_saving())
        model_port = self.plan.backend_port or self.home.port("model")
        relay.write_catalogue(self.home.path / "relay.toml", model_port)
        models = [] if self.plan.backend_port else [relay.model_server(model_port, log("model"))]
        (contracts, keys), _ = await together(self._start_relay(port, base_url), self.family.start(*models))
        self.up = {
            "base_url": base_url,
            "api_key": keys[0],
            "superkey": keys[1],
            "rpc_url": self.chain.url,
            "chain_id": CHAIN_ID,
            "contracts": contracts,
            "redis_url": self.redis.url,
            "state": str(self.home.path),
        }
        self._write_up()
        return self.up

    async def _start_relay(self, port: int, base_url: str) -> tuple[dict[str, str], tuple[str, str]]:
        """Contracts on the chain, a client's key and a superkey in the store, then the coordinator, then its nodes."""
        log = self.home.log
        before = relay.Coordinator(self._environment(port, self.home.read("contracts.json")), base_url)
        contracts, *keys = await together(
            self._contracts(before), self._key(before, "api.key"), self._key(before, "super.key", superkey=True)
        )
        coordinator = relay.Coordinator(self._environment(port, contracts), base_url)
        writer = coordinator.chain_writer(log("chain writer"), self.redis)
        await together(
            self.family.start(coordinator.api(log("api")), writer), self._stake_nodes(contracts["NodeRegistry"])
        )
        await self.family.start(*(self._node(number, base_url) for number in self._numbers()))
        return contracts, (keys[0], keys[1])

    def another_api(self, name: str, port: int) -> Recipe:
        """One more API process on the same store. Once `start` has returned."""
        environment = self._environment(port, self.up["contracts"])
        recipe = relay.Coordinator(environment, f"http://127.0.0.1:{port}").api(self.home.log(name))
        return replace(recipe, name=name)

    async def stop(self) -> None:
        """Nodes first, Redis last."""
        self.up = {}
        self.home.up_json.unlink(missing_ok=True)
        if self._saving is not None:
            self._saving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._saving
        await self.family.stop()

    def _numbers(self) -> range:
        return range(1, self.plan.nodes + 1)

    def _environment(self, port: int, contracts: dict[str, str]) -> dict[str, str]:
        path = self.home.path
        addresses = {"RELAY_TASK_REGISTRY": "TaskRegistry", "RELAY_NODE_REGISTRY": "NodeRegistry"}
        return {
            "RELAY_REDIS_URL": self.redis.url,
            "RELAY_RPC_URL": self.chain.url,
            "RELAY_CHAIN_KEY_FILE": str(path / "keys/coordinator.key"),
            "RELAY_CHAIN_ID": str(CHAIN_ID),
            "RELAY_CATALOGUE": str(path / "relay.toml"),
            "RELAY_HOST": "127.0.0.1",
            "RELAY_PORT": str(port),
            "RELAY_NODE_STAKE_WEI": str(STAKE_WEI),
            "RELAY_NODE_ALLOW_FILE": str(path / "nodes.allow"),
            **{setting: contracts[name] for setting, name in addresses.items() if name in contracts},
            **{name: value for name, value in self.plan.settings.items() if name.startswith("RELAY_")},
        }

    async def _contracts(self, coordinator: relay.Coordinator) -> dict[str, str]:
        """Their addresses. Once here, a kill -9 of anvil can't take them away."""
        await self.chain.fund(account(self.home.path / "keys/coordinator.key"))
        known: dict[str, str] = self.home.read("contracts.json")
        if known and await self.chain.has_code(*known.values()):
            return known
        deployed = await coordinator.deploy(self.home.log("deploy"))
        await self.chain.save()
        self.home.write("contracts.json", deployed)
        return deployed

    async def _key(self, coordinator: relay.Coordinator, name: str, *, superkey: bool = False) -> str:
        path = self.home.path / "keys" / name
        if not path.exists():
            made = await coordinator.new_api_key(self.home.log("key"), "scripts/up", superkey=superkey)
            return remembered(path, lambda: made)
        return path.read_text().strip()

    async def _stake_nodes(self, registry: str) -> None:
        """Makes the nodes' keys and stakes for them. Others may come in by a stake, or by the operator's list."""
        allow = self.home.path / "nodes.allow"
        if not allow.exists():
            allow.write_text("# nodes that may sign in without a stake: one address a line; read again on change\n")
        homes = [self.home.path / "nodes" / str(number) for number in self._numbers()]
        for home in homes:
            home.mkdir(mode=0o700, exist_ok=True)
        keys = [private_key(home / "node.key") for home in homes]
        if await stake_nodes(self.chain, registry, self.home.path / "keys/provider.key", keys):
            await self.chain.save()

    def _node(self, number: int, base_url: str) -> Recipe:
        home = self.home.path / "nodes" / str(number)
        signed_in = relay.SignedIn(self.redis, account(home / "node.key"))
        settings = {"NODE_COORDINATOR_URL": base_url, "NODE_SLOTS": str(self.plan.slots)}
        settings |= {name: value for name, value in self.plan.settings.items() if name.startswith("NODE_")}
        backend = self.plan.backend_ports[number - 1] if self.plan.backend_ports else self.plan.backend_port
        if backend:
            settings |= {"NODE_BACKEND_URL": f"http://127.0.0.1:{backend}/v1", "NODE_MODELS": relay.MODEL}
        return relay.node(number, home, settings, self.home.log(f"node {number}"), signed_in)

    def _write_up(self) -> None:
        """Nothing before all is ready; again with the new pid whenever a child was started again."""
        if not self.up:
            return
        names = {"redis": "redis", "chain": "chain", "chain_writer": "chain writer", "api": "api", "model": "model"}
        names = {key: name for key, name in names.items() if name in self.family.children}
        nodes = [f"node {number}" for number in self._numbers()]
        pids: dict[str, Any] = {key: self.family.pid(name) for key, name in names.items()}
        logs: dict[str, Any] = {key: str(self.home.log(name)) for key, name in names.items()}
        self.up["pids"] = {**pids, "nodes": [self.family.pid(name) for name in nodes]}
        self.up["logs"] = {**logs, "nodes": [str(self.home.log(name)) for name in nodes]}
        self.home.write("up.json", json.loads(json.dumps(self.up)))
