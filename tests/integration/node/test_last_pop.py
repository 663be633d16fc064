"""A consumer that is told to stop is in a blocking pop: what that takes has left the queue, and isn't to get lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from node.consumer.worker import CeleryWorker, Ending, WorkerEvents
from tests.fakes.coordinator_http import PATIENCE, envelope, until
from tests.integration.node.broker import Broker


@pytest.mark.parametrize("seconds", [0.0, 0.3, 0.6, 0.8])
async def test_what_a_stopped_consumer_still_pops_is_delivered(broker: Broker, seconds: float) -> None:
    """A pop blocks for a second, and the consumer's loop goes round at least as often: half a second after its start
    the one and the other are out of step, and it may have left its loop with a pop still under way."""
    taken: list[Any] = []
    ready, endings = asyncio.Event(), list[Ending]()
    events = WorkerEvents(envelope=taken.append, beat=lambda: None, ready=ready.set, ended=endings.append)
    worker = CeleryWorker(broker.grant(), events, asyncio.get_running_loop())
    await asyncio.wait_for(ready.wait(), PATIENCE)
    await asyncio.sleep(0.5)
    first, last = envelope(), envelope()
    broker.put(first)
    await until(lambda: taken)
    worker.stop()
    await asyncio.sleep(seconds)
    broker.put(last)
    await until(lambda: endings)
    queued = int(broker.server.command_line("LLEN", broker.key).removeprefix(b":").strip())
    assert [one["task_id"] for one in taken[1:]] == [last.task_id] * (1 - queued), "popped, and lost"
    assert b"lpush" not in broker.denied()
