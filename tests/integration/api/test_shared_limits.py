"""Two API processes on one store share each key's limits; the OpenAI SDK meets them as its own RateLimitError."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

from scripts.network.children import ROOT
from scripts.network.home import free_port
from tests.fakes.upstream import FakeUpstream
from tests.integration.api.conftest import CHAT
from tests.parts.servers import RedisServer, Server

MODEL = "relay/tiny-chat"
LIMIT = 30  # requests a minute: one every two seconds, once the burst is spent
INTERVAL = 60 / LIMIT
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}]}
CATALOGUE = """
[[models]]
name = "{model}"
modes = ["direct"]
[models.prices.direct]
per_1m_input_tokens = "0.01"
per_1m_output_tokens = "0.02"
[[upstreams]]
name = "one"
base_url = "{upstream}"
[upstreams.models]
"{model}" = "own-name"
[tiers.basic]
direct = {limit}
"""


@dataclass
class Processes:
    bases: Sequence[str]
    key: str
    upstream: FakeUpstream

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def sdk(self, number: int, **options: int) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(api_key=self.key, base_url=f"{self.bases[number]}/v2/openai/v1", **options)


@pytest.fixture
async def processes(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Processes]:
    async with FakeUpstream().serving() as upstream:
        catalogue = tmp_path / "relay.toml"
        catalogue.write_text(CATALOGUE.format(model=MODEL, upstream=upstream.base_url, limit=LIMIT))
        settings = {"RELAY_REDIS_URL": redis_server.url, "RELAY_CATALOGUE": str(catalogue)}
        ports = [free_port(), free_port()]
        apis = [_api(port, settings, tmp_path / f"api-{port}.log") for port in ports]
        started = await asyncio.gather(
            asyncio.to_thread(_make_key, settings), *(asyncio.to_thread(api.start) for api in apis)
        )
        try:
            yield Processes([f"http://127.0.0.1:{port}" for port in ports], started[0] or "", upstream)
        finally:
            await asyncio.gather(*(asyncio.to_thread(api.stop) for api in apis))


def _api(port: int, settings: dict[str, str], log: Path) -> Server:
    words = [f"{name}={value}" for name, value in {**settings, "RELAY_PORT": str(port)}.items()]
    command = ["/usr/bin/env", *words, sys.executable, "-m", "coordinator", "api"]

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/v2/health", timeout=1).status_code == 200
        except httpx.TransportError:
            return False

    return Server(lambda: command, answers, log)


def _make_key(settings: dict[str, str]) -> str:
    command = [sys.executable, "-m", "coordinator", "key", "create", "--name", "shared", "--tier", "basic"]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, check=True
    ).stdout.split()[-1]


async def spend(processes: Processes, requests: int) -> list[httpx.Response]:
    """All at once, half of them to each process."""
    async with httpx.AsyncClient(headers=processes.headers, timeout=30) as client:
        urls = [f"{processes.bases[number % 2]}{CHAT}" for number in range(requests)]
        return await asyncio.gather(*(client.post(url, json=BODY) for url in urls))


async def test_a_burst_over_two_processes_gets_exactly_the_limit(processes: Processes) -> None:
    started = time.monotonic()
    replies = await spend(processes, 4 * LIMIT)
    earned = (time.monotonic() - started) / INTERVAL
    passed = [reply for reply in replies if reply.status_code == 200]
    refused = [reply for reply in replies if reply.status_code == 429]
    assert len(passed) + len(refused) == len(replies)
    assert LIMIT <= len(passed) <= LIMIT + earned
    assert len(processes.upstream.requests) == len(passed)
    # each place was given once, whichever process gave it
    if earned < 1:
        left = sorted(int(reply.headers["x-ratelimit-remaining-requests"]) for reply in passed)
        assert left == list(range(LIMIT))
    for reply in refused:
        assert reply.headers["retry-after"] in ("1", "2")
        assert reply.headers["x-ratelimit-remaining-requests"] == "0"
        assert reply.json()["error"]["code"] == "RATE_LIMITED"


async def test_the_sdk_reads_a_rate_limit_error_and_its_retry_waits_as_long_as_it_is_told(processes: Processes) -> None:
    await spend(processes, LIMIT)
    async with processes.sdk(0, max_retries=0) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model=MODEL, messages=BODY["messages"])  # type: ignore[arg-type]
    assert caught.value.code == "RATE_LIMITED"
    assert caught.value.response.headers["x-ratelimit-limit-requests"] == str(LIMIT)
    # its own first pause would be half a second at most, and one retry then in vain
    started = time.monotonic()
    async with processes.sdk(1, max_retries=1) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=BODY["messages"])  # type: ignore[arg-type]
    assert answer.choices[0].message.content == "Hello."
    assert time.monotonic() - started > 0.9


async def test_a_revoked_key_ends_at_every_process_at_once(processes: Processes, redis_server: RedisServer) -> None:
    async with httpx.AsyncClient(headers=processes.headers) as client:
        for base in processes.bases:
            assert (await client.post(f"{base}{CHAT}", json=BODY)).status_code == 200
        [key] = [word for word in redis_server.command_line("KEYS", "relay:keyid:*").split() if b"keyid" in word]
        key_id = key.decode().removeprefix("relay:keyid:")
        environment = {"RELAY_REDIS_URL": redis_server.url, "RELAY_CATALOGUE": "unread"}
        revoke = [sys.executable, "-m", "coordinator", "key", "revoke", key_id]
        await asyncio.to_thread(subprocess.run, revoke, cwd=ROOT, env={**os.environ, **environment}, check=True)
        for base in processes.bases:
            assert (await client.post(f"{base}{CHAT}", json=BODY)).json()["error"]["code"] == "KEY_REVOKED"
