"""The sweeper goes on whatever the store does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from structlog.testing import capture_logs

from coordinator.dispatch.sweeper import Sweeper
from coordinator.errors import StoreUnavailable


@dataclass
class Found:
    lost: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)


class Store:
    """Down for two ticks, then it finds something."""

    def __init__(self) -> None:
        self.ticks = 0
        self.done = asyncio.Event()

    async def sweep(self) -> Found:
        self.ticks += 1
        if self.ticks <= 2:
            raise StoreUnavailable("down")
        self.done.set()
        return Found(lost=["opengpu:0123456789abcdef-secret#2"], dead=["0xA"]) if self.ticks == 3 else Found()


async def test_an_outage_is_said_once_and_survived() -> None:
    store = Store()
    with capture_logs() as lines:
        running = asyncio.create_task(Sweeper(store, timedelta(0)).run())
        await asyncio.wait_for(store.done.wait(), 5)
        running.cancel()
    assert [line["event"] for line in lines] == [
        "store_unreachable", "store_reachable_again", "lease_lost", "node_silent",
    ]  # fmt: skip
    assert "secret" not in str(lines)
