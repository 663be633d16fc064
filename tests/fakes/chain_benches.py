"""The outbox, fake and real, with what a test does to its store from outside: one face for both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from redis.asyncio import Redis

from coordinator.chain.items import Leg
from coordinator.chain.ports import Outbox
from coordinator.store.outbox import RedisOutbox
from tests.fakes.chain_outbox import FakeOutbox, Shelf

_LISTS = {Leg.OPENING: "relay:outbox:open", Leg.SETTLEMENT: "relay:outbox:settle"}


class Bench(Protocol):
    def writer(self) -> Outbox:
        """Another writer's outbox on the same store; it has not taken over yet."""

    async def write(self, task_id: str, fields: Mapping[str, str], leg: Leg | None = None, due_ms: int = 0) -> None:
        """Adds to a record, and to the list of what is due."""

    async def forget(self, task_id: str) -> None:
        """The record expires."""

    async def record(self, task_id: str) -> dict[str, str]: ...

    async def listed(self, leg: Leg) -> dict[str, int]: ...

    async def kept(self) -> int:
        """How many batches the store holds."""


class FakeBench:
    def __init__(self, remembered: int = 3) -> None:
        self.shelf, self.remembered = Shelf(), remembered

    def writer(self) -> Outbox:
        return FakeOutbox(self.shelf, remembered=self.remembered, max_tries=3)

    async def write(self, task_id: str, fields: Mapping[str, str], leg: Leg | None = None, due_ms: int = 0) -> None:
        self.shelf.records.setdefault(task_id, {}).update(fields)
        if leg is not None:
            self.shelf.due[leg][task_id] = due_ms

    async def forget(self, task_id: str) -> None:
        del self.shelf.records[task_id]

    async def record(self, task_id: str) -> dict[str, str]:
        return dict(self.shelf.records.get(task_id, {}))

    async def listed(self, leg: Leg) -> dict[str, int]:
        return dict(self.shelf.due[leg])

    async def kept(self) -> int:
        return len(self.shelf.batches)


class RedisBench:
    def __init__(self, redis: Redis, remembered: int = 3) -> None:
        self.redis, self.remembered = redis, remembered

    def writer(self) -> Outbox:
        return RedisOutbox(self.redis, remembered=self.remembered, max_tries=3)

    async def write(self, task_id: str, fields: Mapping[str, str], leg: Leg | None = None, due_ms: int = 0) -> None:
        for name, value in fields.items():
            await self.redis.hset(f"relay:record:{task_id}", name, value)
        if leg is not None:
            await self.redis.zadd(_LISTS[leg], {task_id: due_ms})

    async def forget(self, task_id: str) -> None:
        await self.redis.delete(f"relay:record:{task_id}")

    async def record(self, task_id: str) -> dict[str, str]:
        stored = await self.redis.hgetall(f"relay:record:{task_id}")
        return {key.decode(): value.decode() for key, value in stored.items()}

    async def listed(self, leg: Leg) -> dict[str, int]:
        found = await self.redis.zrange(_LISTS[leg], 0, -1, withscores=True)
        return {member.decode(): int(score) for member, score in found}

    async def kept(self) -> int:
        return len([key async for key in self.redis.scan_iter("relay:chain:batch:*")])
