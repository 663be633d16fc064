"""What runs beside the chain writer ends with it, and never ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from coordinator.chain.errors import Superseded
from coordinator.wiring_writer import Beside, ChainProcess


class Stub:
    """Something with a `run`."""

    def __init__(self, work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
        self._work, self.ended = work, False

    async def run(self, stop: asyncio.Event) -> None:
        try:
            await self._work(stop)
        finally:
            self.ended = True


def process(writer: Stub, mirror: Stub) -> ChainProcess:
    beside = Beside()
    beside.begin(mirror)  # type: ignore[arg-type]
    beside.begin(mirror)  # type: ignore[arg-type]  # as when the writer opens the chain a second time
    return ChainProcess(writer, beside)  # type: ignore[arg-type]


async def until_stopped(stop: asyncio.Event) -> None:
    await stop.wait()


async def test_it_ends_with_the_writer() -> None:
    mirror = Stub(until_stopped)
    stop = asyncio.Event()
    running = asyncio.create_task(process(Stub(until_stopped), mirror).run(stop))
    await asyncio.sleep(0)
    assert not mirror.ended
    stop.set()
    await running
    assert mirror.ended


async def test_what_ends_the_writer_is_told() -> None:
    async def overtaken(_: asyncio.Event) -> None:
        await asyncio.sleep(0)
        raise Superseded("another one")

    mirror = Stub(until_stopped)
    with pytest.raises(Superseded):
        await process(Stub(overtaken), mirror).run(asyncio.Event())
    assert mirror.ended


async def test_its_own_bug_is_not_the_writers() -> None:
    async def broken(_: asyncio.Event) -> None:
        raise RuntimeError("a bug")

    stop, writer = asyncio.Event(), Stub(until_stopped)
    mirror: Any = Stub(broken)
    with capture_logs() as logs:
        running = asyncio.create_task(process(writer, mirror).run(stop))
        while not mirror.ended:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not writer.ended
        stop.set()
        await running
    assert [line["event"] for line in logs] == ["stakes_no_longer_followed"]
