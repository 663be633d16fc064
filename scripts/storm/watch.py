"""How long the attempts of a node that was struck take to run elsewhere: the store's own times, never ours."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from scripts.storm.clock import Clock
from scripts.storm.ending import end

LOOK_EVERY = 0.1  # seconds
_ENDED = ("completed", "failed")


@dataclass(frozen=True, slots=True)
class Reassigned:
    """`seconds` from the strike to the next attempt's start; None where the task ended without one."""

    fault: str
    node: int
    at: float
    seconds: float | None


class Watch:
    """`redis`: the store, with the operator's rights."""

    def __init__(self, redis: Redis, clock: Clock) -> None:
        self._redis, self._clock = redis, clock
        self.seen: list[Reassigned] = []
        self._watching: set[asyncio.Task[None]] = set()

    async def held(self, address: str) -> list[str]:
        """The attempts that the coordinator believes the node to hold."""
        with contextlib.suppress(RedisError, OSError):
            return sorted(map(str, await self._redis.smembers(f"relay:held:{address}")))
        return []

    def follow(self, fault: str, node: int, attempts: list[str]) -> None:
        """Begins now, at the moment of the strike."""
        struck_ms, at = int(time.time() * 1000), self._clock.now()
        for attempt in attempts:
            task = asyncio.create_task(self._follow(fault, node, at, attempt, struck_ms))
            self._watching.add(task)
            task.add_done_callback(self._watching.discard)

    async def aclose(self) -> None:
        await end(set(self._watching))

    async def _follow(self, fault: str, node: int, at: float, attempt: str, struck_ms: int) -> None:
        task_id, _, number = attempt.rpartition("#")
        seconds: float | None = None
        while True:
            with contextlib.suppress(RedisError, OSError):
                found = await self._redis.hmget(f"relay:task:{task_id}", ["state", "attempt", "assigned_ms"])
                state, newest, assigned_ms = found
                if newest is not None and int(newest) > int(number):
                    seconds = (int(assigned_ms or 0) - struck_ms) / 1000
                    break
                if state is None or state in _ENDED:
                    break
            await asyncio.sleep(LOOK_EVERY)
        self.seen.append(Reassigned(fault, node, at, seconds))
