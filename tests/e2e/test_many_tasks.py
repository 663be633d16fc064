"""200 asynchronous opengpu tasks at once on 2 nodes of 4 slots: each its own, each on chain, each checkable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from coordinator.chain.checks import checks
from coordinator.chain.rpc import connect, disconnect
from coordinator.chain.verify import read_chain
from tests.e2e.relay_client import (
    COMPLETED,
    COMPLETED_EVENT,
    OPENED_EVENT,
    TaskOnChain,
    client,
    ended,
    events,
    recorded,
    salted,
    submit,
)
from tests.parts.network import RunningNetwork

TASKS = 200


@pytest.mark.timeout(600)
async def test_two_hundred_at_once(network: RunningNetwork, report: Callable[[str], None]) -> None:
    up = network.up
    async with client(up) as http:
        started = time.monotonic()
        ids = await asyncio.gather(*(submit(http, f"What is {n} + 1?") for n in range(TASKS)))
        accepted = time.monotonic()
        tasks = await asyncio.gather(*(ended(http, task_id) for task_id in ids))
        done = time.monotonic()
        proofs = await asyncio.gather(*(recorded(http, task_id) for task_id in ids))
        written = time.monotonic()
    times = f"accepted {accepted - started:.1f} s, completed {done - started:.1f} s, recorded {written - started:.1f} s"
    report(f"{TASKS} opengpu tasks at once on 2 nodes of 4 slots: {times}")

    assert [task["status"] for task in tasks] == ["completed"] * TASKS
    assert len(set(ids)) == TASKS
    assert len({task["task_address"] for task in tasks}) == TASKS
    assert len({proof["task_key"] for proof in proofs}) == TASKS
    assert len({proof["node"] for proof in proofs}) == 2, "both nodes worked"
    for task, proof in zip(tasks, proofs, strict=True):
        assert task["task_address"] == proof["task_address"]
        assert proof["request_hash"] == salted(proof["salt"], proof["request"])
        assert proof["response_hash"] == salted(proof["salt"], proof["answer"])
        on_chain = TaskOnChain(up["rpc_url"], task["task_address"])
        assert on_chain.status == COMPLETED
        assert on_chain.request_hash == proof["request_hash"]
        assert on_chain.response_hash == proof["response_hash"]
        assert on_chain.node == proof["node"].lower()
    await verified_as_a_stranger_would(up, proofs)
    addresses = [task["task_address"].lower() for task in tasks]
    for event in (OPENED_EVENT, COMPLETED_EVENT):
        told = events(up, event)
        assert {told[address] for address in addresses} == {1}, event


async def verified_as_a_stranger_would(up: dict[str, Any], proofs: list[dict[str, Any]]) -> None:
    """What relay-verify does with each of them."""
    w3 = connect(up["rpc_url"])
    try:
        for proof in proofs:
            found = checks(proof, await read_chain(w3, proof, up["contracts"]["TaskRegistry"]))
            assert not [check for check in found if not check.ok]
    finally:
        await disconnect(w3)
