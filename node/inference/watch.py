"""Notices that the backend is gone, and when it is back.

A node whose backend is down fails everything in a millisecond, looks idle, and so is given ever more: it has to say
that it wants nothing until the backend answers again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import structlog

from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.report import FailureCode
from node.inference.backend import Backend, BackendFault, Heard

log = structlog.get_logger()

_PROBE_PAUSE = timedelta(seconds=1)


class WatchedBackend:
    """A Backend that tells `on_change` when it goes down (True) and when it is up again (False)."""

    def __init__(self, backend: Backend, pause: timedelta = _PROBE_PAUSE) -> None:
        self._backend = backend
        self._pause = pause
        self._probing: asyncio.Task[None] | None = None
        self.on_change: Callable[[bool], None] = lambda down: None

    async def complete(
        self,
        request: bytes,
        timeout: timedelta,
        endpoint: Endpoint = "chat/completions",
        heard: Heard | None = None,
    ) -> bytes:
        """Raises BackendFault."""
        try:
            return await self._backend.complete(request, timeout, endpoint, heard)
        except BackendFault as fault:
            if fault.code is FailureCode.BACKEND_UNREACHABLE and self._probing is None:
                self._probing = asyncio.create_task(self._probe_until_up())
            raise

    async def kind(self) -> str | None:
        return await self._backend.kind()

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)

    async def _probe_until_up(self) -> None:
        try:
            if await self._backend.kind() is not None:
                return  # one broken connection is no outage
            log.warning("the backend is down: nothing is taken until it answers again")
            self.on_change(True)
            while await self._backend.kind() is None:  # noqa: ASYNC110 - a server has no event to wait for
                await asyncio.sleep(self._pause.total_seconds())
            log.info("the backend answers again")
            self.on_change(False)
        finally:
            self._probing = None
