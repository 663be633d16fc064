"""Ends what runs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

INSIST = 0.5  # seconds


async def end(running: Collection[asyncio.Task[Any]]) -> None:
    """Cancels until they have ended: on Python 3.11 redis-py loses a cancellation that comes with a reply.

    Raises what one of them had failed with before.
    """
    left = set(running)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=INSIST)
    for task in running:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
