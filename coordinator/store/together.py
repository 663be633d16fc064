"""One script for many callers: those who ask while an answer is on its way ask together, in one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from coordinator.store.scripts import unavailable

# Redis works these off without a pause: more would keep others waiting.
_MOST: Final = 64
Args = Sequence[str | bytes | int]


class Together:
    """`ask` as one would call the script. Raises StoreUnavailable; a script that fails fails for its caller alone."""

    def __init__(self, redis: Redis, script: str) -> None:
        self._redis, self._script = redis, redis.register_script(script)
        self._waiting: list[tuple[Args, asyncio.Future[Any]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, *args: str | bytes | int) -> Any:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((args, answer))
        if self._asking is None or self._asking.done():
            self._asking = loop.create_task(self._ask_all())
        with unavailable():
            return await answer

    async def _ask_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            answers = [answer for _, answer in batch]
            try:
                _tell(answers, await self._send([args for args, _ in batch]))
            except Exception as error:
                _tell(answers, [error] * len(answers))
            except asyncio.CancelledError:  # the process ends
                _tell(answers, [ConnectionError()] * len(answers))
                raise

    async def _send(self, batch: Sequence[Args]) -> list[Any]:
        said = await self._pipelined(batch)
        lost = [number for number, one in enumerate(said) if isinstance(one, NoScriptError)]
        if lost:  # a Redis that was started anew; nothing has run
            await self._redis.script_load(self._script.script)
            for number, one in zip(lost, await self._pipelined([batch[number] for number in lost]), strict=True):
                said[number] = one
        return said

    async def _pipelined(self, batch: Sequence[Args]) -> list[Any]:
        if len(batch) == 1:
            try:
                return [await self._redis.evalsha(self._script.sha, 0, *batch[0])]
            except NoScriptError as error:
                return [error]
        pipe = self._redis.pipeline(transaction=False)
        for args in batch:
            pipe.evalsha(self._script.sha, 0, *args)
        said: list[Any] = await pipe.execute(raise_on_error=False)
        return said


def _tell(answers: Sequence[asyncio.Future[Any]], said: Sequence[Any]) -> None:
    for answer, one in zip(answers, said, strict=True):
        if answer.done():  # its caller has gone
            continue
        if isinstance(one, Exception):
            answer.set_exception(one)
        else:
            answer.set_result(one)
