"""Where tasks live on chain, as the chain writer has checked it. API processes never talk to the chain."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT

from coordinator.protocol.hashing import TaskSpace
from coordinator.store.scripts import texts, unavailable

_KEY = "relay:space"


async def publish(redis: Redis, space: TaskSpace, node_registry: str | None = None) -> None:
    fields: dict[FieldT, EncodableT] = {
        "chain_id": str(space.chain_id),
        "task_registry": space.task_registry,
        "implementation": space.implementation,
        "coordinator": space.coordinator,
        "node_registry": node_registry or "",
    }
    with unavailable():
        await redis.hset(_KEY, mapping=fields)


async def load(redis: Redis) -> TaskSpace | None:
    """None until the chain writer has started for the first time."""
    return (await _load(redis))[0]


async def _load(redis: Redis) -> tuple[TaskSpace | None, str | None]:
    with unavailable():
        row = await redis.hgetall(_KEY)
    fields = texts(row)
    if not fields:
        return None, None
    space = TaskSpace(int(fields["chain_id"]), fields["task_registry"], fields["implementation"], fields["coordinator"])
    return space, fields.get("node_registry") or None


class SpaceReader:
    """Reads it once: a coordinator that moves to another registry restarts its API processes."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._space: TaskSpace | None = None
        self._node_registry: str | None = None

    async def current(self) -> TaskSpace | None:
        if self._space is None:
            self._space, self._node_registry = await _load(self._redis)
        return self._space

    async def node_registry(self) -> str | None:
        """Where nodes register; None as well where the chain writer was not told."""
        await self.current()
        return self._node_registry
