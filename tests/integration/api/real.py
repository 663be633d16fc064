"""The real coordinator in a process of its own, on a real Redis, before an upstream that does what it is asked."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest

from scripts.network.children import ROOT
from scripts.network.redis import binary
from tests.fakes.upstream import FakeUpstream, as_asked
from tests.parts.missing import missing
from tests.parts.ports import free_port
from tests.parts.servers import RedisServer, Server

MODEL = "relay/tiny-chat"
NETWORK_MODEL = "relay/network"
# Limits that no test reaches; prices, so that money is counted.
_CATALOGUE = """
[tiers.{tier}]
opengpu = 10000000
direct = 10000000
global = 10000000
concurrent = 100000
"""
_MODEL = """
[[models]]
name = "{name}"
modes = [{modes}]
endpoints = ["chat", "completions", "embeddings"]
"""
_PRICE = """
[models.prices.{mode}]
per_1m_input_tokens = "0.02"
per_1m_output_tokens = "0.04"
"""


@dataclass
class RealApi:
    """`log` is what the coordinator has written; `superkey` may do all that there is to do."""

    base: str
    superkey: str
    log: Path


@contextmanager
def real_api(home: Path) -> Iterator[RealApi]:
    home.mkdir(parents=True, exist_ok=True)
    with _upstream() as upstream_url:
        redis = RedisServer(home / "redis")
        redis.start()
        catalogue = home / "relay.toml"
        catalogue.write_text(_catalogue(upstream_url))
        port = free_port()
        environment = {
            **os.environ, "RELAY_REDIS_URL": redis.url, "RELAY_CATALOGUE": str(catalogue), "RELAY_PORT": str(port)
        }  # fmt: skip
        created = subprocess.run(
            [sys.executable, "-m", "coordinator", "key", "create", "--name", "all", "--super"],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        command = ["/usr/bin/env", *(f"{k}={v}" for k, v in environment.items() if k.startswith("RELAY_"))]
        base = f"http://127.0.0.1:{port}"
        api = Server(
            lambda: [*command, sys.executable, "-m", "coordinator", "api"], lambda: _up(base), home / "api.log"
        )
        try:
            api.start()
            yield RealApi(base, created.stdout.split()[-1], home / "api.log")
        finally:
            api.stop()
            redis.stop()


def need_redis() -> None:
    try:
        binary()
    except FileNotFoundError as error:
        missing(str(error))


def _catalogue(upstream_url: str) -> str:
    tiers = "".join(_CATALOGUE.format(tier=tier) for tier in ("guest", "basic", "pro", "max"))
    both = _MODEL.format(name=MODEL, modes='"opengpu", "direct"') + _PRICE.format(mode="opengpu")
    network = _MODEL.format(name=NETWORK_MODEL, modes='"opengpu"') + _PRICE.format(mode="opengpu")
    upstream = f'[[upstreams]]\nname = "one"\nbase_url = "{upstream_url}"\n[upstreams.models]\n"{MODEL}" = "own-name"\n'
    return tiers + both + _PRICE.format(mode="direct") + network + upstream


def _up(base: str) -> bool:
    try:
        with urlopen(f"{base}/v2/health", timeout=1) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@contextmanager
def _upstream() -> Iterator[str]:
    started, loop = threading.Event(), asyncio.new_event_loop()
    fake, stop = FakeUpstream(as_asked), asyncio.Event()

    async def serve() -> None:
        async with fake.serving():
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert started.wait(60)
    try:
        yield fake.base_url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApi]:
    need_redis()
    with real_api(tmp_path_factory.mktemp("real")) as api:
        yield api
