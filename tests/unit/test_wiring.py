"""What runs in the background is stopped, also where a cancellation is lost."""

from __future__ import annotations

import asyncio

import pytest

from coordinator import wiring


async def test_a_cancellation_that_is_lost_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "_INSIST_S", 0.01)
    lost = 0

    async def deaf() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
                if lost == 3:
                    raise

    async def broken() -> None:
        raise ZeroDivisionError

    running = [asyncio.create_task(start()) for start in (deaf, broken, asyncio.Event().wait)]  # type: ignore[operator]
    await asyncio.sleep(0)
    await asyncio.wait_for(wiring.stop(running), 5)
    assert all(task.done() for task in running)
    await wiring.stop([])


async def test_what_fails_in_the_background_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "_PAUSE_S", 0.0)
    starts = 0

    async def fragile() -> None:
        nonlocal starts
        starts += 1
        if starts < 3:
            raise ValueError("a prompt")

    await asyncio.wait_for(wiring.kept(fragile), 5)
    assert starts == 3
