"""Reports reach the coordinator, through outages and restarts, over real HTTP and a real disk."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from eth_keys.datatypes import PrivateKey
from structlog.testing import capture_logs

from coordinator.protocol import signing
from coordinator.protocol.hashing import receipt_digest, salted_hash, unhex
from coordinator.protocol.ids import AttemptId
from coordinator.protocol.report import Failure, FailureCode, Refusal, Report, ReportReply
from coordinator.protocol.session import REPORT_PATH, BrokerCredential, SessionGrant
from node.identity import Identity
from node.inference.backend import BackendFault
from node.inference.run import Answer
from node.presence.line import SignedLine, line_transport
from node.results.outbox import Outbox
from node.results.poster import Poster
from node.results.report import Performer
from tests.fakes.coordinator_http import CHAIN_ID, TASK_REGISTRY, CoordinatorHttp, envelope, until

IDENTITY = Identity.of(PrivateKey(b"\x11" * 32))
SOON = timedelta(seconds=10)


class SlowOutbox(Outbox):
    """Removes a file when `go` is set; `removing` once it waits for it."""

    def __init__(self, state: Path, address: str) -> None:
        super().__init__(state, address)
        self.go, self.removing = threading.Event(), False

    def remove(self, attempt: AttemptId) -> None:
        self.removing = True
        self.go.wait(10)
        super().remove(attempt)


@pytest.fixture
async def coordinator() -> AsyncIterator[CoordinatorHttp]:
    async with CoordinatorHttp() as server:
        yield server


@pytest.fixture
async def line(coordinator: CoordinatorHttp) -> AsyncIterator[SignedLine]:
    opened = SignedLine(coordinator.url, IDENTITY, line_transport(16))
    yield opened
    await opened.close()


def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "state", IDENTITY.address)


def files(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "state").rglob("*") if path.is_file())


def report(message: str = "x") -> Report:
    failure = Failure(code=FailureCode.BACKEND_ERROR, message=message)
    return Report(task_id=envelope().task_id, attempt=1, failure=failure)


async def test_a_report_is_posted_once_and_leaves_nothing_on_disk(
    coordinator: CoordinatorHttp, line: SignedLine, tmp_path: Path
) -> None:
    poster = Poster(line, outbox(tmp_path))
    given = report()
    poster.submit(given)
    poster.submit(given)
    assert poster.unsettled() == (f"{given.task_id}#1",)
    await poster.settle(SOON)
    assert coordinator.reports == [given]
    assert poster.unsettled() == ()
    assert not files(tmp_path)
    assert not coordinator.wrong


async def test_through_an_outage_by_way_of_the_disk(
    coordinator: CoordinatorHttp, line: SignedLine, tmp_path: Path
) -> None:
    poster = Poster(line, outbox(tmp_path))
    await coordinator.stop()
    given = [report() for _ in range(20)]
    for one in given:
        poster.submit(one)
    await until(lambda: len(files(tmp_path)) == 20)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files(tmp_path))
    assert not any(one.task_id.split(":")[1] in path.name for one in given for path in files(tmp_path))
    await coordinator.start()
    await poster.settle(SOON)
    assert {one.task_id for one in coordinator.reports} == {one.task_id for one in given}
    await until(lambda: not files(tmp_path))


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "STORE_UNAVAILABLE"), (401, "CLOCK_OFF"), (404, ""), (500, ""), (429, ""), (400, ""), (422, "")],
)
async def test_anything_but_200_means_again(
    coordinator: CoordinatorHttp, line: SignedLine, tmp_path: Path, status: int, code: str
) -> None:
    coordinator.refuse(REPORT_PATH, status, code)
    poster = Poster(line, outbox(tmp_path))
    poster.submit(report())
    await poster.settle(SOON)
    assert len(coordinator.reports) == 1
    await until(lambda: not files(tmp_path))


async def test_dropped_again_while_its_file_is_removed_it_is_gone_all_the_same(
    coordinator: CoordinatorHttp, line: SignedLine, tmp_path: Path
) -> None:
    """Every heartbeat names an attempt that is not ours until we stop listing it."""
    await coordinator.stop()
    kept = SlowOutbox(tmp_path / "state", IDENTITY.address)
    poster = Poster(line, kept)
    given = report()
    poster.submit(given)
    await until(lambda: len(files(tmp_path)) == 1)
    poster.drop(attempt := poster.unsettled()[0])
    await until(lambda: kept.removing)
    poster.drop(attempt)
    kept.go.set()
    await until(lambda: not poster.unsettled() and not files(tmp_path))
    await poster.settle(SOON)


async def test_what_the_coordinator_refuses_is_dropped(
    coordinator: CoordinatorHttp, line: SignedLine, tmp_path: Path
) -> None:
    coordinator.verdicts.append(ReportReply(accepted=False, refusal=Refusal.LATE))
    poster = Poster(line, outbox(tmp_path))
    poster.submit(report())
    await poster.settle(SOON)
    assert len(coordinator.reports) == 1


@pytest.mark.parametrize(("status", "code"), [(422, "MALFORMED"), (400, "MALFORMED"), (413, "")])
async def test_what_the_coordinator_cannot_read_is_dropped(
    coordinator: CoordinatorHttp, line: SignedLine, tmp_path: Path, status: int, code: str
) -> None:
    coordinator.refuse(REPORT_PATH, status, code)
    poster = Poster(line, outbox(tmp_path))
    poster.submit(report())
    await poster.settle(SOON)
    assert not coordinator.reports


async def test_a_slow_coordinator_makes_it_durable_while_the_post_goes_on(
    coordinator: CoordinatorHttp, line: SignedLine, tmp_path: Path
) -> None:
    coordinator.open.clear()
    poster = Poster(line, outbox(tmp_path), save_after=timedelta(milliseconds=20))
    poster.submit(report())
    await until(lambda: files(tmp_path))
    coordinator.open.set()
    await poster.settle(SOON)
    assert len(coordinator.reports) == 1
    assert not files(tmp_path)


async def test_unposted_reports_survive_a_restart(
    coordinator: CoordinatorHttp, line: SignedLine, tmp_path: Path
) -> None:
    await coordinator.stop()
    before = Poster(line, outbox(tmp_path))
    given = report("kept")
    before.submit(given)
    await before.settle(timedelta(milliseconds=10))
    left = files(tmp_path)
    assert len(left) == 1
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()  # as the end of the process does
    await asyncio.sleep(0)
    assert files(tmp_path) == left

    await coordinator.start()
    after = Poster(line, outbox(tmp_path))
    await after.resume()
    assert after.unsettled() == (f"{given.task_id}#1",)
    await after.settle(SOON)
    assert coordinator.reports == [given]
    await until(lambda: not files(tmp_path))


async def test_a_dropped_report_is_not_posted_and_its_file_goes(
    coordinator: CoordinatorHttp, line: SignedLine, tmp_path: Path
) -> None:
    await coordinator.stop()
    poster = Poster(line, outbox(tmp_path))
    poster.submit(report())
    await until(lambda: files(tmp_path))
    poster.drop(poster.unsettled()[0])
    await until(lambda: not poster.unsettled())
    assert not files(tmp_path)


def test_a_crash_while_writing_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """What a killed process leaves: an unfinished file, a torn one, a strange one, and a whole one."""
    box = outbox(tmp_path)
    whole = report()
    body = whole.model_dump_json().encode()
    name = f"{whole.task_id}#1"
    box.save(name, body)  # type: ignore[arg-type]
    folder = files(tmp_path)[0].parent
    (folder / "aa.part").write_bytes(body[:10])
    (folder / "bb.report").write_bytes(body[:10])
    (folder / "cc.report").write_bytes(b"")
    assert outbox(tmp_path).load() == {name: body}
    assert len(files(tmp_path)) == 1


def test_a_file_that_goes_while_the_folder_is_read_keeps_no_node_from_starting(tmp_path: Path) -> None:
    """The process that is taken over from posts its Reports meanwhile; and somebody left a strange thing."""
    box = outbox(tmp_path)
    box.save("opengpu:x#1", report().model_dump_json().encode())  # type: ignore[arg-type]
    folder = files(tmp_path)[0].parent
    (folder / "00.report").symlink_to(folder / "gone")
    (folder / "01.report").mkdir()
    assert len(box.load()) == 1


class FullDisk(Outbox):
    """Until `full` is cleared."""

    full = True

    def _sync_folder(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_what_can_not_be_written_whole_leaves_nothing_behind(tmp_path: Path) -> None:
    """An answer stands in it, which nobody would ever remove."""
    box = outbox(tmp_path)
    box._path("opengpu:x#1").mkdir()  # type: ignore[arg-type]  # so that the last step fails
    with pytest.raises(OSError, match="directory"):
        box.save("opengpu:x#1", b"an answer")  # type: ignore[arg-type]
    assert not files(tmp_path)


async def test_a_full_disk_is_tried_again_and_said_once(
    coordinator: CoordinatorHttp, line: SignedLine, tmp_path: Path
) -> None:
    await coordinator.stop()
    box = FullDisk(tmp_path / "state", IDENTITY.address)
    poster = Poster(line, box)
    with capture_logs() as lines:
        given = [report(), report()]
        for one in given:
            poster.submit(one)
        await until(lambda: any("written to disk" in line["event"] for line in lines))
        await poster.settle(timedelta(0))
        assert lines[-1] == {"event": "Reports are lost: neither posted nor on disk", "log_level": "error", "count": 2}
        assert len([line for line in lines if "written to disk" in line["event"]]) == 1
        box.full = False
        await until(lambda: sum(path.suffix == ".report" for path in files(tmp_path)) == 2)
        await poster.settle(timedelta(0))
        assert box.load().keys() == {f"{one.task_id}#1" for one in given}
        assert lines[-1]["event"] == "Reports wait on disk for the next start"
    await coordinator.start()
    await poster.settle(SOON)
    assert not files(tmp_path)


async def test_what_can_not_be_removed_is_settled_all_the_same(
    coordinator: CoordinatorHttp, line: SignedLine, tmp_path: Path
) -> None:
    class ReadOnly(Outbox):
        def remove(self, attempt: AttemptId) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

    coordinator.refuse(REPORT_PATH, 503, "STORE_UNAVAILABLE")
    poster = Poster(line, ReadOnly(tmp_path / "state", IDENTITY.address))
    with capture_logs() as lines:
        poster.submit(report())
        task = next(task for task in asyncio.all_tasks() if "_deliver" in str(task.get_coro()))
        await poster.settle(SOON)
    assert len(coordinator.reports) == 1
    assert task.done()
    assert task.exception() is None
    assert lines[-1]["reason"] == "Read-only file system"


def test_a_report_that_is_too_old_interests_nobody(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box.save("opengpu:x#1", report().model_dump_json().encode())  # type: ignore[arg-type]
    os.utime(files(tmp_path)[0], (0, 0))
    assert box.load() == {}
    assert not files(tmp_path)


def grant() -> SessionGrant:
    broker = BrokerCredential(url="redis://x", queue="q", key_prefix="p")
    return SessionGrant(
        session="0" * 32, broker=broker, heartbeat_ms=1, lease_ms=1, chain_id=CHAIN_ID, task_registry=TASK_REGISTRY
    )


async def test_the_receipt_binds_task_request_and_answer() -> None:
    given = envelope(attempt=3)
    answer = Answer(
        body='{"choices": [], "x": "é"}', prompt_tokens=5, completion_tokens=6, started_at_ms=7, finished_at_ms=8
    )

    async def run(_: object, heard: object) -> Answer:
        return answer

    made = await Performer(IDENTITY, run, grant)(given, lambda: None)
    assert made.receipt is not None
    assert made.receipt_signature is not None
    assert made.answer == answer.body
    assert made.receipt.model_dump() == {
        "task": given.task_address,
        "attempt": 3,
        "request_hash": given.request_hash,
        "response_hash": salted_hash(unhex(given.salt), answer.body.encode()),
        "prompt_tokens": 5,
        "completion_tokens": 6,
        "started_at_ms": 7,
        "finished_at_ms": 8,
    }
    digest = receipt_digest(CHAIN_ID, TASK_REGISTRY, made.receipt)
    assert signing.recover(digest, made.receipt_signature) == IDENTITY.address


@pytest.mark.parametrize(
    ("code", "status", "level"),
    [
        (FailureCode.BACKEND_REFUSED, 400, "info"),
        (FailureCode.BACKEND_ERROR, 401, "warning"),
        (FailureCode.BACKEND_TIMEOUT, None, "warning"),
    ],
)
async def test_a_fault_becomes_a_failure_and_the_provider_hears_of_it(
    code: FailureCode, status: int | None, level: str
) -> None:
    async def run(_: object, heard: object) -> Answer:
        raise BackendFault(code, "top_k: too big", status)

    with capture_logs() as lines:
        made = await Performer(IDENTITY, run, grant)(envelope(), lambda: None)
    assert made.failure == Failure(code=code, message="top_k: too big", backend_status=status)
    assert [(line["log_level"], line["code"], line["status"]) for line in lines] == [(level, code, status)]
    assert "top_k" not in str(lines)
