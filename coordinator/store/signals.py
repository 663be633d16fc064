"""Tells waiting callers that a task has ended: Redis publish/subscribe as a hint, a re-reading as the truth."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from datetime import timedelta

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

ENDED = "relay:ended"
DIRECT = "relay:direct"
WEBHOOKS = "relay:webhooks"
_RECONNECT_S = 0.2


class Signals:
    """One subscription a process. A signal may be lost (Redis restarts): whoever waits reads again once in a while."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._ended: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._direct = asyncio.Event()
        self._webhooks = asyncio.Event()

    async def run(self) -> None:
        """Listens until it is cancelled; an unreachable Redis is tried again."""
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                log.warning("signals_interrupted", cause=type(error).__name__)
            await asyncio.sleep(_RECONNECT_S)

    async def _listen(self) -> None:
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(ENDED, DIRECT, WEBHOOKS)
            self._wake_all()  # whatever was missed while nobody listened
            while True:
                message = await channel.get_message(timeout=5)
                if message is not None:
                    self._hear(message["channel"].decode(), message["data"].decode())

    def _hear(self, channel: str, task_id: str) -> None:
        if channel == DIRECT:
            self._direct.set()
        elif channel == WEBHOOKS:
            self._webhooks.set()
        for event in self._ended.get(task_id, ()):
            event.set()

    def _wake_all(self) -> None:
        self._direct.set()
        self._webhooks.set()
        for events in self._ended.values():
            for event in events:
                event.set()

    def ending(self, task_id: str) -> Ending:
        """Registers interest; read the task only afterwards, so that no end falls between the two."""
        return Ending(self._ended, task_id)

    async def direct_work(self, timeout: timedelta) -> None:
        await _until(self._direct, timeout)

    async def webhook_work(self, timeout: timedelta) -> None:
        await _until(self._webhooks, timeout)


async def _until(event: asyncio.Event, timeout: timedelta) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout.total_seconds())
    event.clear()


class Ending:
    """Interest in the end of one task, from construction until `close`."""

    def __init__(self, waiting: dict[str, set[asyncio.Event]], task_id: str) -> None:
        self._waiting, self._task_id, self._event = waiting, task_id, asyncio.Event()
        waiting[task_id].add(self._event)

    def close(self) -> None:
        events = self._waiting[self._task_id]
        events.discard(self._event)
        if not events:
            del self._waiting[self._task_id]

    async def heard(self, timeout: timedelta) -> None:
        """Returns when the task may have ended, or when time is up."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout.total_seconds())
        self._event.clear()
