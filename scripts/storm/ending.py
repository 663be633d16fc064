"""Ends what runs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

INSIST = 0.5  # seconds


async def end(running: Collection[asyncio.Task[Any]]) -> None:
    """Cancels until they have ended: on Python 3.11 redis-py loses a cancellation that comes with a reply.

    `running` may grow meanwhile: a task whose cancellation was lost may start another. Raises what one had failed with.
    """
    while left := [task for task in running if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=INSIST)
    for task in running:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
