"""The sweeper goes on whatever the store does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from structlog.testing import capture_logs

from coordinator.dispatch.sweeper import Sweeper
from coordinator.errors import StoreUnavailable


@dataclass
class Found:
    lost: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    notices: list[dict[str, Any]] = field(default_factory=list)


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
        return (
            Found(
                lost=["opengpu:0123456789abcdef-secret#2"],
                dead=["0xA"],
                users=["node-0xA-1"],
                notices=[{"event": "node_suspended", "node": "0xA", "ms": 30000}],
            )
            if self.ticks == 3
            else Found()
        )


class Users:
    def __init__(self) -> None:
        self.removed: list[str] = []
        self.looks = 0

    async def remove(self, names: list[str]) -> None:
        self.removed += names

    async def remove_orphans(self) -> list[str]:
        self.looks += 1
        return ["node-old"]


async def test_an_outage_is_said_once_and_survived() -> None:
    store, users = Store(), Users()
    with capture_logs() as lines:
        running = asyncio.create_task(Sweeper(store, users, timedelta(0)).run())
        await asyncio.wait_for(store.done.wait(), 5)
        running.cancel()
    assert [line["event"] for line in lines] == [
        "broker_user_without_session_removed", "store_unreachable", "store_reachable_again", "lease_lost",
        "node_silent", "node_suspended",
    ]  # fmt: skip
    assert "secret" not in str(lines)
    assert (users.removed, users.looks) == (["node-0xA-1"], 1)
