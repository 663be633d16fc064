"""A storm ends all that it began, also what began while it ended."""

from __future__ import annotations

import asyncio

import pytest

from scripts.storm.ending import end


async def test_what_begins_meanwhile_is_ended_too() -> None:
    """As an attempt that came with the reply in which redis-py lost a cancellation."""
    running: set[asyncio.Task[None]] = set()

    async def takes_one_more() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            running.add(asyncio.create_task(asyncio.sleep(60)))
            raise

    running.add(asyncio.create_task(takes_one_more()))
    await asyncio.sleep(0)
    await end(running)
    assert len(running) == 2
    assert all(task.cancelled() for task in running)


async def test_a_lost_cancellation_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.storm.ending.INSIST", 0.01)

    async def loses_one() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)

    task = asyncio.create_task(loses_one())
    await asyncio.sleep(0)
    await end({task})
    assert task.cancelled()


async def test_what_had_failed_before_is_raised() -> None:
    async def fails() -> None:
        raise ValueError("broken")

    task = asyncio.create_task(fails())
    await asyncio.wait({task})
    with pytest.raises(ValueError, match="broken"):
        await end({task})
