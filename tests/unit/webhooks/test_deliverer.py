"""The deliverer: what it sends, how many at a time, what it hands in, and what it never says in a log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from standardwebhooks.webhooks import Webhook
from structlog.testing import capture_logs

from coordinator.api.answers import webhook_body
from coordinator.errors import StoreUnavailable, TaskExpired
from coordinator.lifecycle.task import TaskState, TaskView
from coordinator.lifecycle.webhooks import Attempt, Outcome
from coordinator.protocol.ids import TaskId, new_task_id
from coordinator.webhooks import deliverer as room
from coordinator.webhooks.deliverer import Deliverer
from coordinator.webhooks.signing import new_secret
from tests.fakes.upstream import ANSWER, COMPLETION
from tests.fakes.webhooks import FakeDeliveries, FakeSender

URL = "https://hooks.example/s3cr3t-path?token=s3cr3t"
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def attempt(number: int = 0, **more: Any) -> Attempt:
    task_id = new_task_id("direct")
    view = TaskView(task_id, TaskState.COMPLETED, "direct", "m", NOW, NOW, ended_at=NOW)
    fresh = Attempt(task_id, "token", f"{URL}&n={number}", "hooks.example:443", 0, (new_secret(),), view)
    return replace(fresh, **more)


class Tasks:
    """All of them completed with the same answer, but for those that have `gone`."""

    def __init__(self) -> None:
        self.gone: set[TaskId] = set()
        self.answer = ANSWER
        self.down = 0

    async def read(self, task_id: TaskId) -> TaskView:
        if self.down:
            self.down -= 1
            raise StoreUnavailable("down")
        if task_id in self.gone:
            raise TaskExpired("expired")
        return TaskView(task_id, TaskState.COMPLETED, "direct", "m", NOW, NOW, ended_at=NOW, answer=self.answer)


@asynccontextmanager
async def running(
    store: FakeDeliveries, sender: FakeSender, tasks: Tasks | None = None, **more: Any
) -> AsyncIterator[Deliverer]:
    deliverer = Deliverer(store, tasks or Tasks(), sender, webhook_body, **more)
    task = asyncio.create_task(deliverer.run())
    try:
        yield deliverer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def store() -> FakeDeliveries:
    return FakeDeliveries()


async def test_it_sends_the_poll_body_with_its_event_signed(store: FakeDeliveries) -> None:
    due, sender = attempt(), FakeSender()
    async with running(store, sender):
        await store.add(due)
        await store.until(lambda: due.task_id in store.finished)
    [(url, headers, body)] = sender.sent
    assert url == due.url
    assert headers["webhook-id"] == f"msg_{due.task_id}"
    told = Webhook(due.secrets[0]).verify(body, headers)
    assert told["event"] == "task.completed"
    assert told["result"] == COMPLETION
    assert told["task_id"] == due.task_id
    assert "error" not in told
    assert store.finished[due.task_id].delivered


async def test_the_timestamp_is_the_attempts_the_id_the_tasks(store: FakeDeliveries) -> None:
    due, sender, times = attempt(), FakeSender(), iter([1000.9, 2000.1])
    async with running(store, sender, clock=lambda: next(times)):
        for tries in (0, 1):
            await store.add(replace(due, tries=tries))
            await store.until(lambda wanted=tries + 1: len(sender.sent) == wanted and not store.due)  # type: ignore[misc]
    first, second = (headers for _, headers, _ in sender.sent)
    assert first["webhook-id"] == second["webhook-id"]
    assert (first["webhook-timestamp"], second["webhook-timestamp"]) == ("1000", "2000")
    assert first["webhook-signature"] != second["webhook-signature"]


async def test_a_slow_receiver_stalls_nobody(store: FakeDeliveries) -> None:
    async def script(url: str) -> Outcome:
        if url.endswith("n=0"):
            await asyncio.Event().wait()
        return Outcome(200)

    slow, quick = attempt(0), [attempt(number) for number in range(1, 6)]
    async with running(store, FakeSender(script), slots=2):
        for due in (slow, *quick):
            await store.add(due)
        await store.until(lambda: len(store.finished) == len(quick))
    assert slow.task_id not in store.finished


async def test_never_more_than_its_slots(store: FakeDeliveries) -> None:
    now, most = 0, 0

    async def script(url: str) -> Outcome:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return Outcome(200)

    store.due = [attempt(number) for number in range(20)]
    async with running(store, FakeSender(script), slots=3):
        await store.until(lambda: len(store.finished) == 20)
    assert most == 3


async def test_a_store_that_is_away_is_waited_for(store: FakeDeliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_STORE_PAUSE_S", 0.001)
    due, sent = attempt(), asyncio.Event()

    async def script(url: str) -> Outcome:
        store.failing = StoreUnavailable("down")
        sent.set()
        return Outcome(200)

    tasks = Tasks()
    tasks.down = 3
    async with running(store, FakeSender(script), tasks):
        await store.add(due)
        await asyncio.wait_for(sent.wait(), 5)
        assert not store.finished
        store.failing = None
        await store.until(lambda: due.task_id in store.finished)


async def test_an_expired_task_is_told_of_without_its_result(store: FakeDeliveries) -> None:
    due, sender, tasks = attempt(), FakeSender(), Tasks()
    tasks.gone.add(due.task_id)
    async with running(store, sender, tasks):
        await store.add(due)
        await store.until(lambda: due.task_id in store.finished)
    told = orjson.loads(sender.sent[0][2])
    assert (told["status"], told["result_omitted"]) == ("completed", True)
    assert "result" not in told


@pytest.mark.parametrize(("size", "omitted"), [(1024 * 1024 - 2000, False), (1024 * 1024, True)])
def test_a_body_over_a_mebibyte_goes_without_its_result(size: int, omitted: bool) -> None:
    view = TaskView(
        new_task_id("direct"), TaskState.COMPLETED, "direct", "m", NOW, NOW, answer=b'"' + b"x" * size + b'"'
    )
    body = webhook_body(view)
    assert ("result_omitted" in orjson.loads(body), "result" not in orjson.loads(body)) == (omitted, omitted)
    assert len(body) <= 1024 * 1024


def test_a_failure_has_its_error_and_no_result() -> None:
    told = {"error_code": "UPSTREAM_ERROR", "error_message": "Every node failed.", "error_status": 502}
    view = TaskView(new_task_id("opengpu"), TaskState.FAILED, "opengpu", "m", NOW, NOW, **told)  # type: ignore[arg-type]
    body = orjson.loads(webhook_body(view))
    assert (body["event"], body["error_code"]) == ("task.failed", "UPSTREAM_ERROR")
    assert body["error"]
    assert body.keys().isdisjoint({"result", "result_omitted"})


OUTCOMES: list[Callable[[], Outcome]] = [
    lambda: Outcome(200),
    lambda: Outcome(500, "not_2xx"),
    lambda: 1 / 0,  # type: ignore[dict-item, return-value]
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=["delivered", "failed", "broken"])
async def test_no_log_holds_the_url_the_body_the_secret_or_the_whole_id(
    store: FakeDeliveries, outcome: Callable[[], Outcome]
) -> None:
    done = asyncio.Event()

    async def script(url: str) -> Outcome:
        done.set()
        return outcome()

    due = attempt()
    with capture_logs() as lines:
        async with running(store, FakeSender(script)):
            await store.add(due)
            await done.wait()
            while not lines:
                await asyncio.sleep(0)
    text = str(lines)
    assert due.task_id[:16] in text
    for secret in ("s3cr3t", "hooks.example", due.secrets[0], due.task_id, "Hello."):
        assert secret not in text
