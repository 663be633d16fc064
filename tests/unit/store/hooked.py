"""Drives the store's webhooks: tasks that end, attempts, and time moved by hand."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from coordinator.errors import UpstreamError
from coordinator.lifecycle.order import Order
from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.webhooks import Attempt, Delivery, Outcome, Webhook
from coordinator.protocol.ids import TaskId
from coordinator.store.direct import DirectLine
from coordinator.store.scripts import Scripts
from coordinator.store.signals import Signals
from coordinator.store.tasks import TaskStore
from coordinator.store.webhooks import WebhookStore
from coordinator.webhooks.signing import new_secret
from tests.unit.store.network import counting_ids

URL = "https://hooks.example/s3cr3t"
OK, DOWN = Outcome(204), Outcome(None, "connection_failed")
_PREFIX = b"relay:webhooks:"


@dataclass
class Hooked:
    redis: Redis

    def __post_init__(self) -> None:
        scripts, signals = Scripts(self.redis, Policy()), Signals(self.redis)
        self.tasks, self.line = TaskStore(self.redis, scripts, Policy()), DirectLine(scripts, signals)
        self.ids = counting_ids()
        self.hooks = WebhookStore(scripts, signals, new_secret)
        self.other = WebhookStore(scripts, signals, new_secret)  # another process's

    async def submit(self, *, receiver: str = "hooks.example:443", account: str = "acme", url: str = URL) -> TaskId:
        task_id = self.ids("direct")
        order = Order("direct", "m", b"{}", "key_0", asynchronous=True, webhook=Webhook(url, receiver, account))
        await self.tasks.submit(task_id, order, None)
        return task_id

    async def end(self, *, well: bool = True) -> TaskId:
        """The first task in the line."""
        claim = await self.line.claim()
        assert claim is not None
        await self.line.finish(claim, b'{"model":"m","choices":[]}' if well else UpstreamError("down"))
        return claim.task_id

    async def ended(self, count: int = 1, **more: str) -> list[TaskId]:
        for _ in range(count):
            await self.submit(**more)
        return [await self.end() for _ in range(count)]

    async def attempt(self, *, other: bool = False) -> Attempt:
        found = await (self.other if other else self.hooks).claim()
        assert found is not None
        return found

    async def read(self, task_id: TaskId) -> Delivery:
        return await self.hooks.read("acme", task_id)

    async def pass_time(self, *, leases: bool = False) -> None:
        """As if every pause had passed, and with `leases` every lease: whoever has an attempt is dead or slow."""
        kinds = (b"line:", b"held:", b"busy:") if leases else (b"line:",)
        for key in await self.redis.keys(_PREFIX + b"*"):
            if key[len(_PREFIX) :].startswith(kinds):
                await self._zero(key)
        await self._zero(_PREFIX + b"due")

    async def _zero(self, key: bytes) -> None:
        members = await self.redis.zrange(key, 0, -1)
        if members:
            await self.redis.zadd(key, dict.fromkeys(members, 0))

    async def pause(self, task_id: TaskId) -> int:
        """Seconds until the next attempt, of one that waits."""
        seconds, _ = await self.redis.time()
        delivery = await self.read(task_id)
        assert delivery.next_at is not None
        return round(delivery.next_at.timestamp() - seconds)
