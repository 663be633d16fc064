"""One's own tasks on the whole network: retried through a kill -9, listed, cancelled in line and in a node's hands."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.e2e.relay_client import CHAT, FAILED, TaskOnChain, body, client, ended, recorded, submit
from tests.parts.network import RunningNetwork

KEYS = 40
SLOTS = 8
BUSY = 3 * SLOTS


async def listed(http: httpx.AsyncClient, since: str | None) -> list[dict[str, Any]]:
    """The key's own tasks that are newer than `since`."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        after = {"starting_after": cursor} if cursor else {}
        page = (await http.get("/v2/tasks", params={"limit": 30, **after})).raise_for_status().json()
        for row in page["tasks"]:
            if row["task_id"] == since:
                return found
            found.append(row)
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def insist(http: httpx.AsyncClient, content: str, until: asyncio.Event) -> set[str]:
    """Sends one request again and again under one key, whatever comes back; the ids of the tasks it was told of."""
    headers, told = {"Idempotency-Key": str(uuid.uuid4())}, set()
    request = body(content, mode="opengpu", **{"async": True})
    while not told or not until.is_set():
        try:
            answer = await http.post(CHAT, json=request, headers=headers)
        except httpx.TransportError:
            await asyncio.sleep(0.1)
            continue
        if answer.status_code == 202:
            told.add(answer.json()["task_id"])
        else:
            assert answer.status_code in (409, 429, 502, 503), answer.text
        await asyncio.sleep(0.3)
    return told


async def test_retries_through_a_kill_of_the_api_make_one_task_each(
    network: RunningNetwork, report: Callable[[str], None]
) -> None:
    async with client(network.up) as http:
        since = await submit(http, "What is 1 + 1?")
        over = asyncio.Event()
        calls = [asyncio.create_task(insist(http, f"What is {n} + 3?", over)) for n in range(KEYS)]
        await asyncio.sleep(0.15)  # in the midst of the first ones
        before = network.up["pids"]["api"]
        os.kill(before, signal.SIGKILL)
        async with asyncio.timeout(120):
            while network.up["pids"]["api"] == before:
                await asyncio.sleep(0.05)
        over.set()
        told = await asyncio.gather(*calls)
        assert [len(ids) for ids in told] == [1] * KEYS
        rows = await listed(http, since)
        assert {row["task_id"] for row in rows} == set().union(*told)
        assert len(rows) == KEYS
        for ids in told:
            assert (await ended(http, *ids))["status"] == "completed"
    report(f"{KEYS} Idempotency-Keys retried through a kill -9 of the API: {len(rows)} tasks")


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    """Nodes that are alive for as long as a lease, and do nothing."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_tasks_are_cancelled_in_the_line_and_in_a_nodes_hands(
    network: RunningNetwork, report: Callable[[str], None]
) -> None:
    up = network.up
    async with client(up) as http:
        since = await submit(http, "What is 1 + 1?")
        await ended(http, since)
        with frozen(up["pids"]["nodes"]):
            synchronous = asyncio.create_task(http.post(CHAT, json=body("What is 1 + 2?", mode="opengpu")))
            ids = await asyncio.gather(*(submit(http, f"What is {n} + 4?") for n in range(BUSY - 1)))
            async with asyncio.timeout(120):
                while len(rows := await listed(http, since)) < BUSY:
                    await asyncio.sleep(0.05)
            waiting = [row["queue"]["position"] for row in rows]
            assert (waiting.count(0), sorted(waiting)[-1]) == (SLOTS, BUSY - SLOTS)
            (first,) = {row["task_id"] for row in rows} - set(ids)
            bodies = [(await http.post(f"/v2/tasks/{row['task_id']}/cancel")).json() for row in rows]
            reply = await asyncio.wait_for(synchronous, 60)
        thawed = time.monotonic()
        assert {seen["error_code"] for seen in bodies} == {"TASK_CANCELED"}
        assert (reply.status_code, reply.headers["x-task-id"]) == (410, first)
        assert reply.json()["error"]["code"] == "TASK_CANCELED"
        following = await ended(http, await submit(http, "What is 2 + 2?"))
        report(f"{BUSY} tasks cancelled; the next one answered {time.monotonic() - thawed:.2f} s after the nodes go on")
        assert (following["status"], following["attempts"]) == ("completed", 1)
        await asyncio.gather(*(check_record(http, up, seen) for seen in bodies[:4]))
        assert (await http.get(f"/v2/tasks/{first}")).json()["error_code"] == "TASK_CANCELED"
    async with httpx.AsyncClient(base_url=up["base_url"], trust_env=False) as guest:
        assert (await guest.post(f"/v2/tasks/{since}/cancel")).status_code == 403
        assert (await guest.get("/v2/tasks")).status_code == 401


async def check_record(http: httpx.AsyncClient, up: dict[str, Any], seen: dict[str, Any]) -> None:
    await recorded(http, seen["task_id"])
    chain = (await ended(http, seen["task_id"]))["chain"]
    assert (chain["status"], chain["confirmations"] >= 1) == ("confirmed", True)
    assert TaskOnChain(up["rpc_url"], seen["task_address"]).status == FAILED
