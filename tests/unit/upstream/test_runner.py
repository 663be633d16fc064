"""The runner of asynchronous direct tasks: a bound on how many run, leases kept, outcomes handed in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from coordinator.errors import InternalError, StoreUnavailable, UpstreamError
from coordinator.upstream import runner as rooms
from coordinator.upstream.runner import DirectRunner
from tests.fakes.relay import FakeClaim, FakeDirectLine, FakeUpstreams
from tests.fakes.upstream import ANSWER


@asynccontextmanager
async def running(line: FakeDirectLine, upstreams: FakeUpstreams, slots: int = 4) -> AsyncIterator[None]:
    runner: DirectRunner[FakeClaim] = DirectRunner(line, upstreams, slots=slots, renew_every=timedelta(milliseconds=10))
    task = asyncio.create_task(runner.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(line: FakeDirectLine, true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5), line.changed:
        await line.changed.wait_for(true)


async def test_tasks_are_run_and_handed_in() -> None:
    line, upstreams = FakeDirectLine(), FakeUpstreams()
    first = await line.add("a")
    async with running(line, upstreams):
        second = await line.add("b")
        await until(line, lambda: len(line.finished) == 2)
    assert line.finished == {first.task_id: ANSWER, second.task_id: ANSWER}
    assert {model for model, _ in upstreams.calls} == {"a", "b"}


async def test_a_failure_is_an_outcome() -> None:
    line, upstreams = FakeDirectLine(), FakeUpstreams(UpstreamError("broke"))
    claim = await line.add()
    async with running(line, upstreams):
        await until(line, lambda: bool(line.finished))
    assert line.finished[claim.task_id] is upstreams.outcome


async def test_a_bug_is_an_outcome_too(monkeypatch: pytest.MonkeyPatch) -> None:
    line, upstreams = FakeDirectLine(), FakeUpstreams()
    claim = await line.add()

    async def broken(model: str, request: bytes) -> bytes:
        raise ZeroDivisionError("s3cret")

    monkeypatch.setattr(upstreams, "complete", broken)
    with capture_logs() as logs:
        async with running(line, upstreams):
            await until(line, lambda: bool(line.finished))
    assert isinstance(line.finished[claim.task_id], InternalError)
    assert claim.task_id not in str(logs)
    assert "s3cret" not in str(logs)


async def test_no_more_than_its_slots_and_all_leases_are_renewed() -> None:
    line, upstreams = FakeDirectLine(), FakeUpstreams()
    upstreams.gate.clear()
    for _ in range(5):
        await line.add()
    async with running(line, upstreams, slots=2):
        await until(line, lambda: any(len(claims) == 2 for claims in line.renewed))
        assert (len(line.waiting), len(upstreams.calls)) == (3, 2)
        upstreams.gate.set()
        await until(line, lambda: len(line.finished) == 5)


async def test_the_upstream_of_a_cancelled_task_is_hung_up_on() -> None:
    line, upstreams = FakeDirectLine(), FakeUpstreams()
    upstreams.gate.clear()
    cancelled = await line.add()
    async with running(line, upstreams, slots=1):
        async with asyncio.timeout(5):
            await upstreams.called.wait()
            line.gone.add(cancelled.task_id)
            await upstreams.cancelled.wait()
        upstreams.gate.set()
        following = await line.add()
        await until(line, lambda: bool(line.finished))
    assert list(line.finished) == [following.task_id]


async def test_an_outcome_outlives_a_store_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "_STORE_PAUSE_S", 0.001)
    line, upstreams = FakeDirectLine(), FakeUpstreams()
    upstreams.gate.clear()
    claim = await line.add()
    with capture_logs() as logs:
        async with running(line, upstreams):
            async with asyncio.timeout(5):
                await upstreams.called.wait()
            line.failing = StoreUnavailable("down")
            upstreams.gate.set()
            async with asyncio.timeout(5):
                while not logs:  # a renewal that failed
                    await asyncio.sleep(0)
            assert not line.finished
            line.failing = None
            await until(line, lambda: bool(line.finished))
            await line.add()
            await until(line, lambda: len(line.finished) == 2)
    assert line.finished[claim.task_id] == ANSWER


async def test_a_runner_that_is_stopped_hangs_up() -> None:
    line, upstreams = FakeDirectLine(), FakeUpstreams()
    upstreams.gate.clear()
    await line.add()
    async with running(line, upstreams), asyncio.timeout(5):
        await upstreams.called.wait()
    assert upstreams.cancelled.is_set()
    assert not line.finished
