"""The network of scripts/up, in a temporary directory, in front of a backend that answers at once."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from scripts.network.children import Family, Recipe
from scripts.network.home import Home, free_port
from scripts.network.network import Network, Plan
from scripts.network.relay import MODEL
from scripts.network.wire import Refused, call

REQUEST = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}], "max_completion_tokens": 16}


@dataclass(frozen=True, slots=True)
class Stage:
    """`up` is what up.json holds; `backend` the base URL of the model server that nodes and direct mode use."""

    up: dict[str, Any]
    backend: str
    family: Family
    home: Path

    def client(self, connections: int) -> aiohttp.ClientSession:
        headers = {"authorization": f"Bearer {self.up['api_key']}"}
        return aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=connections))

    @property
    def chat(self) -> str:
        return f"{self.up['base_url']}/v2/openai/v1/chat/completions"

    @property
    def backend_chat(self) -> str:
        return f"{self.backend}/chat/completions"

    def cpu_seconds(self, name: str) -> float:
        """User and system time that a child has used so far."""
        fields = Path(f"/proc/{self.family.pid(name)}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def ask(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> None:
    """One call, its answer read to the end. Raises RuntimeError unless it is 200."""
    async with session.post(url, json=body) as answer:
        text = await answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{url} answered {answer.status}: {text[:300]!r}")


async def ask_many(session: aiohttp.ClientSession, url: str, body: dict[str, Any], calls: int, at_once: int) -> float:
    """Seconds that `calls` calls take, `at_once` of them at a time."""
    left = iter(range(calls))

    async def caller() -> None:
        for _ in left:
            await ask(session, url, body)

    started = asyncio.get_running_loop().time()
    await asyncio.gather(*(caller() for _ in range(at_once)))
    return asyncio.get_running_loop().time() - started


@asynccontextmanager
async def stage(nodes: int, slots: int) -> AsyncIterator[Stage]:
    """Everything started and warm; stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as directory:
        home = Home(Path(directory) / "state")
        port = free_port()
        network = Network(home, Plan(port=0, nodes=nodes, slots=slots, backend_port=port), print)
        command = [sys.executable, "-m", "scripts.benchmark.backend", str(port)]
        backend = Recipe("backend", lambda: command, home.log("backend"), ready=lambda: _answers(port))
        try:
            await network.family.start(backend)
            up = await network.start()
            made = Stage(up, f"http://127.0.0.1:{port}/v1", network.family, home.path)
            async with made.client(16) as session:
                for mode in ("opengpu", "direct") if nodes else ("direct",):
                    await ask_many(session, made.chat, {**REQUEST, "mode": mode}, 100, 16)
            yield made
        finally:
            await network.stop()
            home.close()


async def _answers(port: int) -> bool:
    try:
        await asyncio.to_thread(call, f"http://127.0.0.1:{port}/v1/models", timeout=2.0)
    except (OSError, Refused):
        return False
    return True
