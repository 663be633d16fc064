"""A storm ends all that it began, also what began while it ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from eth_keys.datatypes import PrivateKey

from coordinator.protocol.envelope import Envelope
from scripts.storm.ending import end
from scripts.storm.rogue import Rogue, Setting
from tests.fakes.coordinator_http import envelope


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


class Idle(Rogue):
    """Whom no coordinator lets in."""

    async def sign_in(self) -> None:
        return None

    async def meanwhile(self) -> None:
        await asyncio.Event().wait()

    async def misbehave(self, envelope: Envelope) -> None:
        await asyncio.sleep(0)


def idle() -> Rogue:
    http: Any = None
    return Idle(Setting("http://127.0.0.1:1", http, list), PrivateKey(b"\x07" * 32))


async def test_a_hostile_node_ends_with_a_storm_that_fails() -> None:
    """What it began would hold up the end of the whole program, which says what failed."""
    before = asyncio.all_tasks()
    running = asyncio.create_task(idle().run(60))
    while len(asyncio.all_tasks()) < len(before) + 4:
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert asyncio.all_tasks() == before


async def test_an_envelope_that_comes_twice_is_held_once() -> None:
    node, given = idle(), envelope()
    await asyncio.gather(node._hold(given), node._hold(given))
    assert (node.held, node.deeds.taken) == ({}, 2)
