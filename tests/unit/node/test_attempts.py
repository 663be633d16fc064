"""What the node holds: from Envelope to settled Report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from coordinator.protocol.envelope import Envelope
from coordinator.protocol.ids import AttemptId, TaskId, attempt_id
from coordinator.protocol.report import Failure, FailureCode, Report
from node.attempts import Attempts
from tests.fakes.coordinator_http import envelope, until

SOON = timedelta(seconds=5)


class Kept:
    """Reports that are never settled, unless `settled` says so."""

    def __init__(self) -> None:
        self.reports: dict[AttemptId, Report] = {}
        self.submitted: list[Report] = []
        self.dropped: list[AttemptId] = []

    def submit(self, report: Report) -> None:
        self.submitted.append(report)
        self.reports[attempt_id(TaskId(report.task_id), report.attempt)] = report

    def drop(self, attempt: AttemptId) -> None:
        self.dropped.append(attempt)
        self.reports.pop(attempt, None)

    def holds(self, attempt: AttemptId) -> bool:
        return attempt in self.reports

    def unsettled(self) -> tuple[AttemptId, ...]:
        return tuple(self.reports)


class Bench:
    """Work that goes on until `gate` opens."""

    def __init__(self, slots: int = 2) -> None:
        self.gate = asyncio.Event()
        self.begun: list[AttemptId] = []
        self.cancelled: list[AttemptId] = []
        self.heard: dict[AttemptId, Callable[[], None]] = {}
        self.reports = Kept()
        self.beats = 0
        self.attempts = Attempts(slots, self.perform, self.reports, self.beat)

    def beat(self) -> None:
        self.beats += 1

    async def perform(self, given: Envelope, heard: Callable[[], None]) -> Report:
        self.begun.append(given.attempt_id)
        self.heard[given.attempt_id] = heard
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(given.attempt_id)
            raise
        failure = Failure(code=FailureCode.BACKEND_ERROR, message="x")
        return Report(task_id=given.task_id, attempt=given.attempt, failure=failure)

    def deliver(self, *given: Envelope) -> None:
        for one in given:
            self.attempts.deliver(one.model_dump())


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_no_more_run_at_once_than_there_are_slots_and_the_rest_waits_in_order(bench: Bench) -> None:
    given = [envelope() for _ in range(5)]
    bench.deliver(*given)
    await until(lambda: len(bench.begun) == 2)
    assert set(bench.attempts.held()) == {one.attempt_id for one in given}
    bench.gate.set()
    await until(lambda: len(bench.reports.submitted) == 5)
    assert bench.begun == [one.attempt_id for one in given]
    assert set(bench.attempts.held()) == {one.attempt_id for one in given}  # unsettled
    bench.reports.reports.clear()
    assert bench.attempts.held() == ()


async def test_a_repeated_envelope_is_dropped_at_every_stage(bench: Bench) -> None:
    waiting = [envelope() for _ in range(3)]
    bench.deliver(*waiting, *waiting)
    await until(lambda: len(bench.begun) == 2)
    bench.gate.set()
    await until(lambda: len(bench.reports.submitted) == 3)
    bench.deliver(*waiting)
    bench.reports.reports.clear()
    bench.deliver(*waiting)
    await asyncio.sleep(0)
    assert len(bench.begun) == 3
    assert bench.attempts.held() == ()


async def test_another_attempt_of_the_same_task_is_another_attempt(bench: Bench) -> None:
    first = envelope()
    bench.deliver(first, first.model_copy(update={"attempt": 2}))
    await until(lambda: len(bench.begun) == 2)


@pytest.mark.parametrize(
    "change",
    [
        {"request": '{"model": "m"}'},
        {"salt": "0x" + "00" * 32},
        {"request_hash": "0x" + "00" * 32},
        {"task_id": "x"},
        {"attempt": 0},
        {"salt": "0x12"},
        {"request": "\ud800"},
        {"request": None},
    ],
)
async def test_a_forged_or_broken_envelope_is_dropped(bench: Bench, change: dict[str, object]) -> None:
    bench.attempts.deliver({**envelope().model_dump(), **change})
    await asyncio.sleep(0)
    assert bench.attempts.held() == ()
    assert not bench.reports.submitted


@pytest.mark.parametrize("message", [None, [], "text", 3, {}, {**envelope().model_dump(), "attempt": 2**32}])
async def test_what_is_no_envelope_is_dropped(bench: Bench, message: object) -> None:
    bench.attempts.deliver(message)
    assert bench.attempts.held() == ()


async def test_cancelled_attempts_stop_and_their_reports_are_dropped(bench: Bench) -> None:
    running, other, waiting = (envelope() for _ in range(3))
    bench.deliver(running, other, waiting)
    await until(lambda: len(bench.begun) == 2)
    bench.attempts.cancel([running.attempt_id, waiting.attempt_id, AttemptId("unknown:1#1")])
    await until(lambda: bench.attempts.held() == (other.attempt_id,))
    assert bench.cancelled == [running.attempt_id]
    assert bench.reports.dropped[:2] == [running.attempt_id, waiting.attempt_id]
    bench.deliver(running, waiting)  # their Envelopes may still come again
    assert bench.attempts.held() == (other.attempt_id,)


async def test_a_bug_in_the_node_is_a_node_fault(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_: Envelope, heard: Callable[[], None]) -> Report:
        raise ZeroDivisionError("the prompt")

    attempts = Attempts(1, broken, bench.reports, bench.beat)
    attempts.deliver(envelope().model_dump())
    await until(lambda: bench.reports.submitted)
    failure = bench.reports.submitted[0].failure
    assert failure is not None
    assert failure.code is FailureCode.BACKEND_ERROR
    assert "the prompt" not in failure.message


async def test_drain_hands_back_what_waits_and_finishes_what_runs(bench: Bench) -> None:
    given = [envelope() for _ in range(4)]
    bench.deliver(*given)
    await until(lambda: len(bench.begun) == 2)
    draining = asyncio.create_task(bench.attempts.drain(SOON))
    await until(lambda: len(bench.reports.submitted) == 2)
    late = envelope()
    bench.deliver(late)
    bench.gate.set()
    await draining
    codes = {one.task_id: one.failure.code for one in bench.reports.submitted if one.failure}
    handed_back = {task for task, code in codes.items() if code is FailureCode.HANDED_BACK}
    assert handed_back == {given[2].task_id, given[3].task_id, late.task_id}
    assert len(codes) == 5


async def test_drain_stops_what_takes_too_long_without_a_report(bench: Bench) -> None:
    bench.deliver(envelope())
    await until(lambda: bench.begun)
    await bench.attempts.drain(timedelta(milliseconds=50))
    assert bench.cancelled
    assert not bench.reports.submitted


async def test_drain_of_an_idle_node_is_immediate(bench: Bench) -> None:
    await asyncio.wait_for(bench.attempts.drain(SOON), 1)


async def test_hundreds_at_once() -> None:
    bench = Bench(slots=500)
    bench.deliver(*(envelope() for _ in range(500)))
    await until(lambda: len(bench.begun) == 500)
    bench.gate.set()
    await until(lambda: len(bench.reports.submitted) == 500)


async def test_what_is_given_up_is_stopped_and_handed_back_once(bench: Bench) -> None:
    given = [envelope() for _ in range(5)]
    bench.deliver(*given)
    await until(lambda: len(bench.begun) == 2)
    await bench.attempts.give_up("another process took over")
    assert bench.cancelled == [one.attempt_id for one in given[:2]]
    assert len(bench.begun) == 2, "nothing of what waited begins"
    assert [(report.task_id, report.failure and report.failure.code) for report in bench.reports.submitted] == [
        (one.task_id, FailureCode.HANDED_BACK) for one in given
    ]
    bench.deliver(late := envelope())
    assert bench.reports.submitted[-1].task_id == late.task_id


async def test_what_ends_while_it_is_given_up_is_reported_and_not_handed_back(bench: Bench) -> None:
    bench.deliver(one := envelope())
    await until(lambda: bench.begun)
    bench.gate.set()
    await until(lambda: bench.reports.submitted)
    await bench.attempts.give_up("another process took over")
    assert [report.task_id for report in bench.reports.submitted] == [one.task_id]
