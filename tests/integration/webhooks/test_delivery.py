"""Webhooks end to end: a receiver that is down for a while, a store that is killed, a delivering process that is."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.request import urlopen

import httpx
import orjson
import pytest
from aiohttp import web
from pydantic import SecretStr
from redis.asyncio import Redis
from standardwebhooks.webhooks import Webhook

from coordinator.api.answers import poll_body, webhook_body
from coordinator.errors import StoreUnavailable
from coordinator.lifecycle.keys import NewKey
from coordinator.lifecycle.webhooks import DeliveryState
from coordinator.lifecycle.webhooks import Webhook as Wish
from coordinator.protocol.ids import TaskId
from coordinator.store.connection import connect
from coordinator.store.keyring import KeyRing
from coordinator.webhooks.deliverer import Deliverer
from coordinator.webhooks.resolving import SystemResolver
from coordinator.webhooks.sender import HttpSender
from coordinator.wiring import stop
from scripts.network.children import ROOT
from tests.fakes.upstream import FakeUpstream
from tests.fakes.webhooks import Receiver
from tests.parts.ports import free_port
from tests.parts.servers import RedisServer, Server
from tests.unit.store.hooked import Hooked
from tests.unit.store.network import Network

SECRET_PATH = "s3cr3t-path"
CATALOGUE = """
[[models]]
name = "free"
modes = ["direct"]
[models.prices.direct]
per_1m_input_tokens = "0"
per_1m_output_tokens = "0"
[[upstreams]]
name = "one"
base_url = "{upstream}"
[upstreams.models]
"free" = "own-name"
"""


@pytest.fixture
async def hooked(redis_server: RedisServer) -> AsyncIterator[Hooked]:
    client: Redis = connect(SecretStr(redis_server.url))
    yield Hooked(client)
    await client.aclose()


@asynccontextmanager
async def delivering(hooked: Hooked) -> AsyncIterator[None]:
    names = SystemResolver(4)
    sender = HttpSender(names, allow_private=True)
    task = asyncio.create_task(Deliverer(hooked.hooks, hooked.tasks, sender, webhook_body).run())
    try:
        yield
    finally:
        await stop([task])
        await sender.close()
        names.close()


async def attempts(hooked: Hooked, count: int) -> None:
    """Until every delivery has had so many."""
    async with asyncio.timeout(60):
        while True:
            page = await hooked.hooks.listed("acme", None, 100)
            if all(delivery.attempts >= count for delivery in page.deliveries):
                return
            await asyncio.sleep(0.05)


async def ended_on_the_network(hooked: Hooked, webhook: Wish) -> list[TaskId]:
    """Opengpu tasks, each completed by a node."""
    network = Network(hooked.redis)
    node = await network.sign_in(1, slots=3)
    tasks = [await network.submit(webhook=webhook) for _ in range(3)]
    for task_id in tasks:
        assert await network.complete(f"{task_id}#1", node, '{"choices":[{"message":{"content":"Hi."}}]}') is None
    return tasks


async def test_a_receiver_that_was_down_gets_every_event_once_it_is_back(
    hooked: Hooked, redis_server: RedisServer
) -> None:
    port = free_port()
    receiver = f"127.0.0.1:{port}"
    for _ in range(12):
        await hooked.submit(receiver=receiver, url=f"http://{receiver}/{SECRET_PATH}")
    tasks = [await hooked.end(well=number % 3 != 0) for number in range(12)]
    tasks += await ended_on_the_network(hooked, Wish(f"http://{receiver}/{SECRET_PATH}", receiver, "acme"))
    old = (await hooked.hooks.secret("acme")).current
    async with delivering(hooked):
        await attempts(hooked, 1)
        await hooked.pass_time()
        await attempts(hooked, 2)

    redis_server.kill()
    with pytest.raises(StoreUnavailable):
        await hooked.hooks.claim()
    redis_server.start()
    new = (await hooked.hooks.rotate("acme", timedelta(hours=24))).current

    up = Receiver([500, 302, 404])  # back, and not quite well yet
    async with up.serving(port), delivering(hooked):
        await hooked.pass_time()
        await attempts(hooked, 3)
        await hooked.pass_time()
        await up.until(len(tasks) + 3)
        # the receiver knows of the last one before the deliverer has written so
        await delivered(hooked, [str(task_id) for task_id in tasks])
    assert up.most_at_once <= 8
    bodies = {}
    for got in up.got:
        told = Webhook(new).verify(got.body, got.headers)
        assert Webhook(old).verify(got.body, got.headers) == told
        assert got.headers["webhook-id"] == f"msg_{told['task_id']}"
        bodies[told["task_id"]] = told
    assert bodies.keys() == {str(task_id) for task_id in tasks}
    for task_id in tasks:
        told = bodies[task_id]
        polled = orjson.loads(poll_body(await hooked.tasks.read(task_id)))
        gone = "error" if told["event"] == "task.completed" else "result"
        assert told == {"event": f"task.{polled['status']}", **{k: v for k, v in polled.items() if k != gone}}


async def delivered(hooked: Hooked, tasks: list[str]) -> None:
    async with asyncio.timeout(60):
        while True:
            page = await hooked.hooks.listed("acme", None, 100, DeliveryState.DELIVERED)
            if {str(delivery.task_id) for delivery in page.deliveries} >= set(tasks):
                return
            await asyncio.sleep(0.02)


# ── whole processes ──────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Api:
    server: Server
    base: str


def api(home: Path, settings: dict[str, str]) -> Api:
    port = free_port()
    base, log = f"http://127.0.0.1:{port}", home / f"api-{port}.log"
    words = ["/usr/bin/env", *(f"{name}={value}" for name, value in settings.items()), f"RELAY_PORT={port}"]
    words += [f"PYTHONPATH={ROOT}", sys.executable, "-m", "coordinator", "api"]
    return Api(Server(lambda: words, lambda: _up(base), log), base)


def _up(base: str) -> bool:
    try:
        with urlopen(f"{base}/v2/health", timeout=1) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


async def test_the_delivery_of_a_killed_process_is_made_by_another(
    hooked: Hooked, redis_server: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "log").mkdir()
    api_key, _ = await KeyRing(hooked.redis).create(NewKey("mine", "acme", "pro", superkey=True))
    headers = {"X-API-Key": api_key}
    stuck = asyncio.Event()

    async def hangs(request: web.Request) -> web.StreamResponse:
        stuck.set()
        await asyncio.Event().wait()
        raise AssertionError

    receiver = Receiver(answer=hangs)
    async with FakeUpstream().serving() as upstream, receiver.serving(), httpx.AsyncClient(timeout=60) as client:
        (tmp_path / "relay.toml").write_text(CATALOGUE.format(upstream=upstream.base_url))
        settings = {"RELAY_REDIS_URL": redis_server.url, "RELAY_CATALOGUE": str(tmp_path / "relay.toml")}
        settings["RELAY_WEBHOOK_ALLOW_PRIVATE"] = "true"
        first, second = api(tmp_path / "log", settings), api(tmp_path / "log", settings)
        strict = api(tmp_path / "log", settings | {"RELAY_WEBHOOK_ALLOW_PRIVATE": "false"})
        try:
            first.server.start()
            url = f"http://localhost:{receiver.port}/{SECRET_PATH}"
            asked = {
                "model": "free",
                "messages": [{"role": "user", "content": "Hi"}],
                "async": True,
                "webhook_url": url,
            }
            accepted = await client.post(f"{first.base}/v2/openai/v1/chat/completions", json=asked, headers=headers)
            assert accepted.status_code == 202, accepted.text
            task_id = accepted.json()["task_id"]
            await asyncio.wait_for(stuck.wait(), 60)
            first.server.kill()
            row = await hooked.read(task_id)
            assert (row.state, row.attempts) == (DeliveryState.PENDING, 0)

            receiver.answer = None
            second.server.start()
            await hooked.pass_time(leases=True)
            await receiver.until(2)
            await delivered(hooked, [task_id])
            strict.server.start()
            refused = await client.post(f"{strict.base}/v2/openai/v1/chat/completions", json=asked, headers=headers)
            assert refused.status_code == 422
            asked["webhook_url"] = url.replace("http", "https")
            refused = await client.post(f"{strict.base}/v2/openai/v1/chat/completions", json=asked, headers=headers)
            assert refused.status_code == 422
            secret = (await client.get(f"{second.base}/v2/customer/webhooks/secret", headers=headers)).json()["secret"]
        finally:
            for one in (first, second, strict):
                one.server.stop()
    before, after = receiver.got
    assert before.headers["webhook-id"] == after.headers["webhook-id"] == f"msg_{task_id}"
    for got in (before, after):
        told = Webhook(secret).verify(got.body, got.headers)
        assert told["result"]["choices"]
    for log in (tmp_path / "log").iterdir():
        text = log.read_text()
        assert SECRET_PATH not in text
        assert secret not in text
        assert task_id not in text
