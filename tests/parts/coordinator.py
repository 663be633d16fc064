"""A coordinator with its nodes, all real processes, without a chain: what a record would say is kept in the outbox.

async with SmallNetwork(home) as network: await network.start_node(); ...; await network.ended(await network.submit())
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import httpx
from pydantic import SecretStr
from redis.asyncio import Redis

from coordinator.protocol.hashing import TaskSpace
from coordinator.store.connection import connect
from coordinator.store.space import publish
from node.identity import Identity, create_key, load_key
from scripts.network.children import ROOT
from scripts.network.redis import binary
from tests.fakes.backend import BackendHttp
from tests.parts.missing import missing
from tests.parts.ports import free_port
from tests.parts.servers import RedisServer, Server

SPACE = TaskSpace(31337, "0x" + "11" * 20, "0x" + "22" * 20, "0x" + "33" * 20)
MODEL = "m"
_CATALOGUE = """
[tiers.guest]
opengpu = 1000000
global = 1000000
concurrent = 100000
[[models]]
name = "m"
modes = ["opengpu"]
endpoints = ["chat"]
[models.prices.opengpu]
per_1m_input_tokens = "0.02"
per_1m_output_tokens = "0.04"
"""
PATIENCE = 60.0  # seconds


class SmallNetwork:
    """`settings`: the coordinator's, as environment variables. `ca`: what https addresses are checked against."""

    def __init__(self, home: Path, ca: Path | None = None, **settings: str) -> None:
        try:
            binary()
        except FileNotFoundError as error:
            missing(str(error))
        self.home, self.settings = home, settings
        self.redis_server = RedisServer(home / "redis")
        self.backend = BackendHttp()
        self.nodes: list[Server] = []
        self._port = free_port()
        self._tls = ssl.create_default_context(cafile=str(ca)) if ca else None
        self._api: Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._started = stack.pop_all()
        return self

    async def _start(self, stack: AsyncExitStack) -> None:
        stack.push_async_callback(asyncio.to_thread, self.redis_server.stop)
        await asyncio.to_thread(self.redis_server.start)
        self.redis: Redis = connect(SecretStr(self.redis_server.url))
        stack.push_async_callback(self.redis.aclose)
        await publish(self.redis, SPACE)
        await stack.enter_async_context(self.backend)
        stack.push_async_callback(self._kill_all)
        client = httpx.AsyncClient(base_url=self.url, timeout=60, verify=self._tls or True, trust_env=False)
        self.http = await stack.enter_async_context(client)
        await self.start_api()

    async def _kill_all(self) -> None:
        for server in [*self.nodes, *([self._api] if self._api else [])]:
            await asyncio.to_thread(server.kill)

    async def __aexit__(self, *_: object) -> None:
        await self._started.aclose()

    @property
    def api(self) -> Server:
        assert self._api is not None
        return self._api

    def environment(self) -> dict[str, str]:
        catalogue = self.home / "relay.toml"
        catalogue.write_text(_CATALOGUE)
        return {
            "RELAY_REDIS_URL": self.redis_server.url,
            "RELAY_CATALOGUE": str(catalogue),
            "RELAY_PORT": str(self._port),
            **self.settings,
        }

    async def start_api(self) -> None:
        """Returns once it answers."""
        self._api = Server(
            lambda: self._command(self.environment(), "coordinator", "api"), self._up, self.home / "api.log"
        )
        await asyncio.to_thread(self._api.start)

    def key(self, number: int = 1) -> Path:
        path = self.home / f"node-{number}.key"
        if not path.exists():
            create_key(path)
        return path

    def identity(self, number: int = 1) -> Identity:
        return load_key(self.key(number))

    async def start_node(self, number: int = 1, **settings: str) -> Server:
        """Returns once it takes work."""
        environment = {
            "NODE_KEY_FILE": str(self.key(number)),
            "NODE_COORDINATOR_URL": self.url,
            "NODE_BACKEND_URL": self.backend.url,
            "NODE_MODELS": MODEL,
            "NODE_SLOTS": "8",
            **settings,
        }
        log = self.home / f"node-{number}-{len(self.nodes)}.log"
        node = Server(lambda: self._command(environment, "node", "run"), lambda: True, log)
        node.start()
        self.nodes.append(node)
        address = self.identity(number).address

        async def free() -> bool:
            return await self.redis.zscore(f"relay:free:{MODEL}", address) is not None

        await self.until(free, f"node {number}: {log}")
        return node

    async def submit(self, text: str = "Hello!") -> str:
        body = {"model": MODEL, "mode": "opengpu", "async": True, "messages": [{"role": "user", "content": text}]}
        reply = await self.http.post("/v2/openai/v1/chat/completions", json=body)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["task_id"])

    async def ended(self, task_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            seen: dict[str, Any] = (await self.http.get(f"/v2/tasks/{task_id}", params={"wait": 5})).json()
            if seen["status"] in ("completed", "failed"):
                return seen
        raise AssertionError(f"not ended: {seen}")

    async def until(self, look: Any, what: str) -> Any:
        """The first true thing that `look` returns, awaited."""
        deadline = time.monotonic() + PATIENCE
        while not (seen := await look()):
            assert time.monotonic() < deadline, f"it did not happen in time: {what}"
            await asyncio.sleep(0.02)
        return seen

    def log(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.home / name).read_text().splitlines()]

    async def users(self) -> set[str]:
        """The broker's, of nodes."""
        there = await self.redis.execute_command("ACL", "USERS")  # type: ignore[no-untyped-call]
        return {name.decode() for name in there} - {"default"}

    def _up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/health", timeout=1, verify=self._tls or True, trust_env=False).is_success
        except httpx.TransportError:
            return False

    async def command(self, *words: str) -> str:
        """What `python -m coordinator` prints."""
        command = self._command(self.environment(), "coordinator", *words)
        ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
        return ran.stdout

    @staticmethod
    def _command(settings: dict[str, str], *words: str) -> list[str]:
        mine = [name for name in os.environ if name.startswith(("RELAY_", "NODE_"))]
        unset = [part for name in mine for part in ("-u", name)]
        said = [f"{name}={value}" for name, value in settings.items()]
        return ["/usr/bin/env", "-C", str(ROOT), *unset, *said, sys.executable, "-m", *words]
