"""Looks for what time has brought about: lost leases, passed deadlines, dead nodes. Every API process may run one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Protocol

import structlog

from coordinator.errors import StoreUnavailable

log = structlog.get_logger(__name__)


class Swept(Protocol):
    """Attempt ids, task ids, node addresses, broker users whose time is over; what else to log: an `event` and more."""

    @property
    def lost(self) -> list[str]: ...
    @property
    def given_up(self) -> list[str]: ...
    @property
    def dead(self) -> list[str]: ...
    @property
    def users(self) -> list[str]: ...
    @property
    def notices(self) -> list[dict[str, Any]]: ...


class Sweepable(Protocol):
    async def sweep(self) -> Swept: ...


class Users(Protocol):
    """All raise StoreUnavailable."""

    async def remove(self, names: list[str]) -> None: ...
    async def remove_orphans(self) -> list[str]: ...


class Sweeper:
    """One atomic script a tick; what it finds is logged, since each line of it is somebody's bad minute."""

    def __init__(self, tasks: Sweepable, users: Users, every: timedelta) -> None:
        self._tasks, self._users, self._every = tasks, users, every.total_seconds()
        self._reachable, self._looked = True, False

    async def run(self) -> None:
        """Until cancelled. A store that is down is tried again, and said once."""
        while True:
            try:
                await self._look_for_orphans()
                swept = await self._tasks.sweep()
                self._report(swept)
                await self._users.remove(swept.users)
            except StoreUnavailable:
                if self._reachable:
                    log.error("store_unreachable", remedy="check that Redis runs and RELAY_REDIS_URL is right")
                self._reachable = False
            await asyncio.sleep(self._every)

    async def _look_for_orphans(self) -> None:
        """Once a process: nothing makes them while a coordinator runs."""
        if self._looked:
            return
        for user in await self._users.remove_orphans():
            log.warning("broker_user_without_session_removed", user=user)
        self._looked = True

    def _report(self, swept: Swept) -> None:
        if not self._reachable:
            log.info("store_reachable_again")
        self._reachable = True
        for attempt in swept.lost:
            log.warning("lease_lost", task=attempt[:16], attempt=attempt.rpartition("#")[2])
        for task_id in swept.given_up:
            log.warning("task_given_up", task=task_id[:16])
        for node in swept.dead:
            log.warning("node_silent", node=node)
        for notice in swept.notices:
            log.warning(**notice)
