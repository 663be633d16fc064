"""Two API processes on one store share each key's limits; the OpenAI SDK meets them as its own RateLimitError."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pydantic import SecretStr

from coordinator.lifecycle.keys import NewKey
from coordinator.store.connection import connect
from coordinator.store.keyring import KeyRing
from scripts.network.children import ROOT
from tests.fakes.upstream import FakeUpstream
from tests.integration.api.conftest import CHAT
from tests.integration.api.real import need_redis
from tests.parts.ports import free_port
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
    """`key` is new for each test."""

    bases: Sequence[str]
    settings: Mapping[str, str]
    redis: RedisServer
    key: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def sdk(self, number: int, **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(api_key=self.key, base_url=f"{self.bases[number]}/v2/openai/v1", **options)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    need_redis()
    home = tmp_path_factory.mktemp("shared")
    redis = RedisServer(home / "redis")
    redis.start()
    # the kernel ends a child with the thread that started it: the pool's threads stay as long as the test
    with upstream() as upstream_url, ThreadPoolExecutor() as pool:
        catalogue = home / "relay.toml"
        catalogue.write_text(CATALOGUE.format(model=MODEL, upstream=upstream_url, limit=LIMIT))
        settings = {"RELAY_REDIS_URL": redis.url, "RELAY_CATALOGUE": str(catalogue)}
        ports = [free_port(), free_port()]
        apis = [_api(port, settings, home / f"api-{port}.log") for port in ports]
        try:
            list(pool.map(Server.start, apis))
            yield Processes([f"http://127.0.0.1:{port}" for port in ports], settings, redis)
        finally:
            for server in (*apis, redis):
                server.stop()


@pytest.fixture
async def processes(running: Processes) -> Processes:
    client = connect(SecretStr(running.redis.url))
    key, _ = await KeyRing(client).create(NewKey("shared", "default", "basic"))
    await client.aclose()
    return replace(running, key=key)


@contextmanager
def upstream() -> Iterator[str]:
    """A model server on a loop of its own: the tests' loops come and go."""
    loop, fake, started = asyncio.new_event_loop(), FakeUpstream(), threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        async with fake.serving():
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert started.wait(60)
    yield fake.base_url
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def _api(port: int, settings: dict[str, str], log: Path) -> Server:
    words = [f"{name}={value}" for name, value in {**settings, "RELAY_PORT": str(port)}.items()]
    command = ["/usr/bin/env", *words, sys.executable, "-m", "coordinator", "api"]

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/v2/health", timeout=1).status_code == 200
        except httpx.TransportError:
            return False

    return Server(lambda: command, answers, log)


async def spend(processes: Processes, requests: int) -> list[httpx.Response]:
    """All at once, half of them to each process."""
    async with httpx.AsyncClient(headers=processes.headers, timeout=60) as client:
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
    # each place was given once, whichever process gave it
    if earned < 1:
        left = sorted(int(reply.headers["x-ratelimit-remaining-requests"]) for reply in passed)
        assert left == list(range(LIMIT))
    for reply in refused:
        assert reply.headers["retry-after"] in ("1", "2")
        assert reply.headers["x-ratelimit-remaining-requests"] == "0"
        assert reply.json()["error"]["code"] == "RATE_LIMITED"


async def refusal(processes: Processes) -> openai.RateLimitError:
    """Of one more than there are; in a round that takes long, places are earned anew."""
    async with processes.sdk(0, max_retries=0) as client:
        while True:
            await spend(processes, LIMIT)
            try:
                await client.chat.completions.create(model=MODEL, messages=BODY["messages"])  # type: ignore[arg-type]
            except openai.RateLimitError as error:
                return error


async def test_the_sdk_reads_a_rate_limit_error_and_its_retry_waits_as_long_as_it_is_told(processes: Processes) -> None:
    error = await refusal(processes)
    assert error.code == "RATE_LIMITED"
    assert error.response.headers["x-ratelimit-limit-requests"] == str(LIMIT)
    heard: list[tuple[float, httpx.Response]] = []

    async def hears(response: httpx.Response) -> None:
        heard.append((time.monotonic(), response))

    http = httpx.AsyncClient(event_hooks={"response": [hears]})
    async with processes.sdk(1, max_retries=1, http_client=http) as client:
        while len(heard) < 2:  # until it was refused at first
            heard.clear()
            await spend(processes, LIMIT)
            answer = await client.chat.completions.create(model=MODEL, messages=BODY["messages"])  # type: ignore[arg-type]
    assert answer.choices[0].message.content == "Hello."
    # its own pause would be half a second at most, and one retry then in vain
    (refused_at, refused), (answered_at, _) = heard
    assert answered_at - refused_at >= int(refused.headers["retry-after"])


async def test_the_operators_commands_reach_every_process_at_once(processes: Processes) -> None:
    async def key(*words: str) -> str:
        command = [sys.executable, "-m", "coordinator", "key", *words]
        done = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env={**os.environ, **processes.settings}, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await done.communicate()
        return printed.decode()

    made = await key("create", "--name", "of the operator", "--tier", "pro", "--limit", "direct=7", "--budget", "2.5")
    line = next(line for line in (await key("list")).splitlines() if "of the operator" in line)
    key_id = line.split()[0]
    assert line.split()[1:5] == ["active", "key", "pro", "default"]
    assert line.endswith("direct=7")
    async with httpx.AsyncClient(headers={"X-API-Key": made.strip()}) as client:
        for left, base in zip(("6", "5"), processes.bases, strict=True):
            reply = await client.post(f"{base}{CHAT}", json=BODY)
            assert (reply.status_code, reply.headers["x-ratelimit-remaining-requests"]) == (200, left)
        assert (await key("revoke", key_id)).split()[:2] == [key_id, "revoked"]
        for base in processes.bases:
            assert (await client.post(f"{base}{CHAT}", json=BODY)).json()["error"]["code"] == "KEY_REVOKED"
