"""One consumer is kept alive, whatever happens to it."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from coordinator.protocol.ids import AttemptId
from coordinator.protocol.session import BrokerCredential
from node.consumer.supervisor import Supervisor
from node.consumer.worker import Ending, WorkerEvents
from tests.fakes.coordinator_http import until

LOST = Ending(refused=False, reason="ConnectionError")
REFUSED = Ending(refused=True, reason="AuthenticationError")
A, B = AttemptId("opengpu:a#1"), AttemptId("opengpu:b#1")


def credential(password: str = "x") -> BrokerCredential:
    return BrokerCredential(url=f"redis://n:{password}@127.0.0.1:1/0", queue="q", key_prefix="p")


class FakeWorker:
    def __init__(self, given: BrokerCredential, events: WorkerEvents) -> None:
        self.credential = given
        self.events = events
        self.stopped = False
        self.silent_for = 0.0

    def stop(self) -> None:
        self.stopped = True


class Bench:
    def __init__(self, stuck_after: float = 60.0) -> None:
        self.workers: list[FakeWorker] = []
        self.renewals: list[str] = []
        self.handed_back: list[AttemptId] = []
        self.delivered: list[object] = []
        self.beats: list[bool] = []
        self.supervisor = Supervisor(
            self.start,
            self.delivered.append,
            self.renewals.append,
            self.handed_back.append,
            lambda: self.beats.append(True),
            stuck_after,
        )

    def start(self, given: BrokerCredential, events: WorkerEvents) -> FakeWorker:
        self.workers.append(FakeWorker(given, events))
        return self.workers[-1]


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_a_new_credential_replaces_the_worker(bench: Bench) -> None:
    bench.supervisor.serve(credential("old"))
    bench.supervisor.serve(credential("new"))
    assert [worker.stopped for worker in bench.workers] == [True, False]
    assert bench.workers[1].credential == credential("new")
    bench.workers[0].events.ended(REFUSED)  # the old one's end changes nothing
    await asyncio.sleep(0)
    assert not bench.renewals
    bench.workers[0].events.envelope("late")  # but what it still takes is not lost
    assert bench.delivered == ["late"]


async def test_a_lost_broker_means_another_worker_on_the_same_credential(bench: Bench) -> None:
    bench.supervisor.serve(credential())
    bench.workers[0].events.ready()
    assert bench.supervisor.ready.is_set()
    bench.workers[0].events.ended(LOST)
    assert not bench.supervisor.ready.is_set()
    await until(lambda: len(bench.workers) == 2)
    bench.workers[1].events.ended(LOST)
    await until(lambda: len(bench.workers) == 3)
    assert not bench.renewals


async def test_a_broker_that_never_answered_is_spoken_of_once(bench: Bench) -> None:
    """A firewall between them: without a line the provider would see a node that is well and gets nothing."""
    with capture_logs() as lines:
        bench.supervisor.serve(credential())
        for number in range(1, 4):
            bench.workers[-1].events.ended(LOST)
            await until(lambda number=number: len(bench.workers) == number + 1)  # type: ignore[misc]
    assert [(line["log_level"], line["remedy"]) for line in lines] == [("warning", "python -m node check")]


async def test_a_refused_credential_means_a_new_session(bench: Bench) -> None:
    bench.supervisor.serve(credential())
    bench.workers[0].events.ended(REFUSED)
    await until(lambda: bench.renewals)
    assert len(bench.workers) == 1


async def test_trouble_without_end_is_met_ever_more_slowly(bench: Bench) -> None:
    bench.supervisor.serve(credential())
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(1, 4):
        bench.workers[-1].events.ended(LOST)
        await until(lambda number=number: len(bench.workers) == number + 1)  # type: ignore[misc]
    assert loop.time() - began > 0.5  # 0 + 0.2 + 0.4


async def test_a_worker_whose_thread_is_stuck_is_replaced_on_the_same_credential() -> None:
    bench = Bench(stuck_after=0.04)
    bench.supervisor.serve(credential())
    bench.workers[0].events.ready()
    bench.workers[0].silent_for = 1.0
    await until(lambda: len(bench.workers) == 2)
    assert [worker.stopped for worker in bench.workers] == [True, False]
    assert bench.workers[1].credential == credential()
    assert not bench.supervisor.ready.is_set()
    bench.workers[0].events.ended(REFUSED)  # when it comes to itself after all
    bench.workers[0].events.envelope("late")
    assert (len(bench.workers), bench.renewals, bench.delivered) == (2, [], ["late"])
    bench.supervisor.stop()


async def test_nobody_looks_after_a_worker_that_has_ended() -> None:
    bench = Bench(stuck_after=0.04)
    bench.supervisor.serve(credential())
    bench.workers[0].silent_for = 1.0
    bench.supervisor.stop()
    await asyncio.sleep(0.05)
    assert len(bench.workers) == 1


async def test_nothing_starts_after_stop(bench: Bench) -> None:
    bench.supervisor.serve(credential())
    bench.workers[0].events.ended(LOST)
    bench.supervisor.stop()
    await asyncio.sleep(0.05)
    assert len(bench.workers) == 1


async def test_an_attempt_missing_in_three_heartbeats_means_a_new_session_once(bench: Bench) -> None:
    for _ in range(2):
        bench.supervisor.note_missing([A])
    assert not bench.renewals
    bench.supervisor.note_missing([A])
    assert len(bench.renewals) == 1
    for _ in range(2):
        bench.supervisor.note_missing([A])
    assert not bench.handed_back
    bench.supervisor.note_missing([A])
    assert bench.handed_back == [A]
    assert len(bench.renewals) == 1


async def test_an_attempt_missing_while_others_arrive_has_lost_its_envelope(bench: Bench) -> None:
    bench.supervisor.serve(credential())
    bench.supervisor.note_missing([A])
    bench.workers[0].events.envelope("another")
    bench.supervisor.note_missing([A])
    assert not bench.handed_back
    bench.supervisor.note_missing([A])
    assert bench.handed_back == [A]
    assert not bench.renewals


async def test_an_attempt_that_arrives_after_all_is_not_missing(bench: Bench) -> None:
    for missing in ([A], [A], [], [A], [A], [B], [A, B], [B]):
        bench.supervisor.note_missing(missing)
    assert len(bench.renewals) == 1  # B's
    assert not bench.handed_back
