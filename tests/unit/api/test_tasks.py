"""Polling: the shape of a task at every stage, waiting for its end, and ids that are none."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest

from coordinator.api.answers import poll_body
from coordinator.errors import ProviderUnavailable, StoreUnavailable, TaskCanceled
from coordinator.lifecycle.order import Order
from coordinator.lifecycle.task import ChainEntry, Place, TaskState, TaskView
from coordinator.protocol.ids import TaskId, new_task_id
from coordinator.protocol.report import Receipt
from tests.fakes.relay import ADDRESS, GOOD_KEY, KEY_ID
from tests.fakes.upstream import ANSWER, COMPLETION
from tests.unit.api.conftest import World

ORDER = Order("opengpu", "relay/both", b"{}", "guest", True)
ALWAYS = {
    "task_id",
    "status",
    "elapsed_seconds",
    "task_address",
    "mode",
    "model",
    "created_at",
    "result",
    "error",
}
BEGAN = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)
VIEW = TaskView(
    task_id=TaskId("opengpu:5f0c1e0a-7b0a-4c3b-9d52-1f2e3d4c5b6a"),
    state=TaskState.WAITING,
    mode="opengpu",
    model="relay/both",
    created_at=BEGAN,
    now=BEGAN + timedelta(seconds=3.9),
    task_address=ADDRESS,
)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (TaskState.WAITING, "queued"),
        (TaskState.ASSIGNED, "queued"),
        (TaskState.RUNNING, "running"),
        (TaskState.COMPLETED, "completed"),
        (TaskState.FAILED, "failed"),
    ],
)
def test_what_is_always_there(state: TaskState, status: str) -> None:
    body = orjson.loads(poll_body(replace(VIEW, state=state)))
    assert set(body) >= ALWAYS
    assert body["status"] == status
    assert body["created_at"] == "2026-01-02T03:04:05.000678+00:00"
    assert body["elapsed_seconds"] == 3
    assert body["result"] is None or body["error"] is None
    assert ("error_code" in body) == ("error_detail" in body) == (status == "failed")


def test_time_stands_still_at_the_end_and_is_told_in_utc() -> None:
    east = timezone(timedelta(hours=5))
    view = replace(VIEW, ended_at=BEGAN + timedelta(seconds=2), created_at=BEGAN.astimezone(east))
    body = orjson.loads(poll_body(view))
    assert (body["elapsed_seconds"], body["created_at"]) == (2, "2026-01-02T03:04:05.000678+00:00")


def test_a_result_keeps_its_bytes_and_a_receipt_is_shown() -> None:
    word = "0x" + "ab" * 32
    receipt = Receipt(
        task=ADDRESS,
        attempt=2,
        request_hash=word,
        response_hash=word,
        prompt_tokens=3,
        completion_tokens=2,
        started_at_ms=1,
        finished_at_ms=2,
    )
    body = poll_body(replace(VIEW, state=TaskState.COMPLETED, answer=ANSWER, node=ADDRESS, attempt=2, receipt=receipt))
    assert ANSWER in body
    told = orjson.loads(body)
    assert (told["node"], told["attempts"], told["receipt"]["response_hash"]) == (ADDRESS, 2, word)


async def test_waiting_ends_with_the_task(world: World) -> None:
    world.relay.at_once = None
    task_id = (await world.relay.submit(ORDER)).task_id
    waiting = asyncio.create_task(world.client.get(f"/v2/tasks/{task_id}", params={"wait": 30}))
    await asyncio.sleep(0)
    await world.relay.end(task_id, ANSWER)
    async with asyncio.timeout(5):
        assert (await waiting).json()["result"] == COMPLETION


async def test_waiting_ends_with_the_time(world: World) -> None:
    world.relay.at_once = None
    task_id = (await world.relay.submit(ORDER)).task_id
    world.relay.patience = timedelta(milliseconds=10)
    reply = await world.client.get(f"/v2/tasks/{task_id}", params={"wait": 7})
    assert (reply.status_code, reply.json()["status"]) == (200, "queued")
    assert world.relay.waited == [timedelta(seconds=7)]


@pytest.mark.parametrize("wait", ["0", "31", "-1", "x", "1.5", "", "1e1", "9" * 5000])
async def test_a_wait_out_of_range(world: World, wait: str) -> None:
    reply = await world.client.get(f"/v2/tasks/{new_task_id('direct')}", params={"wait": wait})
    assert reply.status_code == 422
    assert reply.json()["detail"][0]["loc"] == ["query", "wait"]
    assert wait not in ("x", "1.5") or wait not in reply.json()["error"]["message"].split(": ", 1)[1]


async def test_the_colon_may_be_escaped(world: World) -> None:
    task_id = (await world.relay.submit(ORDER)).task_id
    assert (await world.client.get(f"/v2/tasks/{task_id.replace(':', '%3A')}")).json()["task_id"] == task_id


NOBODYS = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize("task_id", [f"direct:{NOBODYS}", f"opengpu:{NOBODYS}", "x", "direct:1", "DIRECT:%00", "…"])
async def test_an_unknown_id(world: World, task_id: str) -> None:
    for path in (f"/v2/tasks/{task_id}", f"/v2/tasks/{task_id}?wait=1", f"/v2/tasks/{task_id}/proof"):
        reply = await world.client.get(path)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "TASK_NOT_FOUND")
        assert "error_detail" not in reply.json()


async def test_an_expired_id_reads_differently(world: World) -> None:
    task_id = new_task_id("opengpu")
    world.relay.expired.add(task_id)
    body = (await world.client.get(f"/v2/tasks/{task_id}")).json()
    assert (body["error"]["code"], body["error_detail"]) == ("TASK_NOT_FOUND", "TASK_EXPIRED")


async def test_a_failed_task(world: World) -> None:
    world.relay.at_once = ProviderUnavailable("No node serves the model.")
    task_id = (await world.relay.submit(ORDER)).task_id
    body = (await world.client.get(f"/v2/tasks/{task_id}")).json()
    assert (body["status"], body["error_code"], body["result"]) == ("failed", "PROVIDER_UNAVAILABLE", None)
    assert body["error"] == body["error_detail"] == "No node serves the model."


async def test_a_store_that_is_down_says_when_to_come_back(world: World) -> None:
    world.relay.failing = StoreUnavailable("The store does not answer.")
    reply = await world.client.get(f"/v2/tasks/{new_task_id('direct')}")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")


async def test_cancelling_shows_what_became_of_it(world: World) -> None:
    world.relay.at_once = None
    task_id = (await world.relay.submit(ORDER)).task_id
    for _ in range(2):
        reply = await world.client.post(f"/v2/tasks/{task_id}/cancel")
        body = reply.json()
        assert (reply.status_code, body["status"], body["error_code"]) == (200, "failed", "TASK_CANCELED")
        assert body["error"] == body["error_detail"] == "The task was cancelled."


async def test_a_task_that_has_ended_is_cancelled_in_vain(world: World) -> None:
    task_id = (await world.relay.submit(ORDER)).task_id
    body = (await world.client.post(f"/v2/tasks/{task_id}/cancel")).json()
    assert (body["status"], body["result"]) == ("completed", COMPLETION)


async def test_whose_task_it_is_decides_the_store(world: World) -> None:
    world.relay.at_once = None
    task_id = (await world.relay.submit(ORDER)).task_id
    world.relay.owners[task_id] = KEY_ID
    refused = await world.client.post(f"/v2/tasks/{task_id}/cancel")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "CREDENTIAL_NOT_PERMITTED")
    allowed = await world.client.post(f"/v2/tasks/{task_id}/cancel", headers={"X-API-Key": GOOD_KEY})
    assert (allowed.status_code, allowed.json()["status"]) == (200, "failed")
    bad = await world.client.post(f"/v2/tasks/{task_id}/cancel", headers={"X-API-Key": "relay_sk_bad"})
    assert bad.json()["error"]["code"] == "INVALID_API_KEY"


async def test_cancelling_what_is_not_there(world: World) -> None:
    expired = new_task_id("opengpu")
    world.relay.expired.add(expired)
    for task_id, detail in ((new_task_id("direct"), None), ("x", None), (expired, "TASK_EXPIRED")):
        reply = await world.client.post(f"/v2/tasks/{task_id}/cancel")
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "TASK_NOT_FOUND")
        assert reply.json().get("error_detail") == detail


async def test_a_synchronous_call_whose_task_is_cancelled(world: World) -> None:
    """410: OpenAI's clients would send a 409 again by themselves."""
    world.relay.at_once = TaskCanceled("The task was cancelled.")
    reply = await world.ask(mode="opengpu")
    assert (reply.status_code, reply.json()["error"]["code"]) == (410, "TASK_CANCELED")


async def test_a_key_lists_its_tasks(world: World) -> None:
    tasks = [(await world.relay.submit(ORDER)).task_id for _ in range(2)]
    last = new_task_id("direct")
    reply = await world.client.get(
        "/v2/tasks", params={"limit": 5, "starting_after": last}, headers={"X-API-Key": GOOD_KEY}
    )
    body = reply.json()
    assert [row["task_id"] for row in body["tasks"]] == tasks
    assert all(set(row) >= ALWAYS - {"result"} and "result" not in row for row in body["tasks"])
    assert (body["limit"], body["has_more"], body["next_cursor"]) == (5, False, None)
    assert world.relay.listings == [(KEY_ID, last, 5)]


async def test_a_guest_has_no_list(world: World) -> None:
    reply = await world.client.get("/v2/tasks")
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "MISSING_CREDENTIALS")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "starting_after=x", "starting_after="])
async def test_a_list_that_makes_no_sense(world: World, query: str) -> None:
    reply = await world.client.get(f"/v2/tasks?{query}", headers={"X-API-Key": GOOD_KEY})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "VALIDATION_ERROR")


def test_where_it_stands() -> None:
    queued = orjson.loads(poll_body(replace(VIEW, queue=Place(3, "slot", 40))))
    place = {"position": 3, "waiting_for": "slot", "expected_wait_seconds": 40}
    assert (queued["queue"], queued["chain"]) == (place, None)
    entry = ChainEntry("confirmed", "0xaa", 7, 2)
    ended = orjson.loads(poll_body(replace(VIEW, state=TaskState.COMPLETED, chain=entry)))
    assert ended["queue"] is None
    assert ended["chain"] == {"status": "confirmed", "tx_hash": "0xaa", "block_number": 7, "confirmations": 2}


async def test_the_proof_passes_through(world: World) -> None:
    task_id = (await world.relay.submit(ORDER)).task_id
    body = (await world.client.get(f"/v2/tasks/{task_id}/proof")).json()
    assert (body["task_id"], body["salt"]) == (task_id, "0x" + "00" * 32)
