"""Looks for what time has brought about: lost leases, passed deadlines, dead nodes. Every API process may run one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Protocol

import structlog

from coordinator.errors import StoreUnavailable

log = structlog.get_logger(__name__)


class Swept(Protocol):
    """Attempt ids, task ids, node addresses."""

    @property
    def lost(self) -> list[str]: ...
    @property
    def given_up(self) -> list[str]: ...
    @property
    def dead(self) -> list[str]: ...


class Sweepable(Protocol):
    async def sweep(self) -> Swept: ...


class Sweeper:
    """One atomic script a tick; what it finds is logged, since each line of it is somebody's bad minute."""

    def __init__(self, tasks: Sweepable, every: timedelta) -> None:
        self._tasks, self._every, self._reachable = tasks, every.total_seconds(), True

    async def run(self) -> None:
        """Until cancelled. A store that is down is tried again, and said once."""
        while True:
            try:
                self._report(await self._tasks.sweep())
            except StoreUnavailable:
                if self._reachable:
                    log.error("store_unreachable", remedy="check that Redis runs and RELAY_REDIS_URL is right")
                self._reachable = False
            await asyncio.sleep(self._every)

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
