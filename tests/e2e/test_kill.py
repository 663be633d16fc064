"""Law 3: kill -9 of any one process, at any moment, loses nothing that was accepted and doubles nothing.

Each of the five processes is killed once while tasks are under way; the supervisor of scripts/up starts it again. The
report at the end of the run says how each fared.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.relay_client import (
    COMPLETED,
    COMPLETED_EVENT,
    FAILED,
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

TASKS = 50
VICTIMS: dict[str, Callable[[dict[str, Any]], int]] = {
    "node": lambda pids: int(pids["nodes"][0]),
    "api": lambda pids: int(pids["api"]),
    "redis": lambda pids: int(pids["redis"]),
    "chain": lambda pids: int(pids["chain"]),
    "chain_writer": lambda pids: int(pids["chain_writer"]),
}


@dataclass
class Fate:
    """What became of the tasks that were accepted around one kill."""

    victim: str
    healed: float = 0.0
    accepted: float = 0.0
    ended: float = 0.0
    recorded: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    retried: int = 0

    def __str__(self) -> str:
        times = f"up again after {self.healed:4.1f} s; all {TASKS} accepted after {self.accepted:4.1f} s, "
        times += f"ended {self.ended:4.1f} s, recorded {self.recorded:4.1f} s"
        return f"kill -9 {self.victim:<12} {times}; {dict(self.outcomes)}, of them {self.retried} on a further attempt"


async def healed(network: RunningNetwork, victim: str, before: int) -> None:
    async with asyncio.timeout(120):
        while VICTIMS[victim](network.up["pids"]) == before:
            await asyncio.sleep(0.05)


async def kill_while_busy(network: RunningNetwork, victim: str) -> Fate:
    fate = Fate(victim)
    async with client(network.up) as http:
        submits = [asyncio.create_task(submit(http, f"What is {n} + 2?")) for n in range(TASKS)]
        await asyncio.wait(submits[: TASKS // 2], return_when=asyncio.ALL_COMPLETED)
        before, killed = VICTIMS[victim](network.up["pids"]), time.monotonic()
        os.kill(before, signal.SIGKILL)
        await healed(network, victim, before)
        fate.healed = time.monotonic() - killed
        ids = await asyncio.gather(*submits)
        fate.accepted = time.monotonic() - killed
        tasks = await asyncio.gather(*(ended(http, task_id) for task_id in ids))
        fate.ended = time.monotonic() - killed
        await asyncio.gather(*(recorded(http, task_id) for task_id in ids))
        # again: the chain writer had to see first that a chain which was killed has forgotten what was confirmed
        proofs = await asyncio.gather(*(recorded(http, task_id) for task_id in ids))
        fate.recorded = time.monotonic() - killed
    check(network.up, ids, tasks, proofs)
    told_once(network.up, tasks, forgetful=victim == "chain")
    fate.outcomes = Counter(task["error_code"] if task["status"] == "failed" else "completed" for task in tasks)
    fate.retried = sum(proof["attempt"] > 1 for proof in proofs)
    return fate


def check(up: dict[str, Any], ids: list[str], tasks: list[dict[str, Any]], proofs: list[dict[str, Any]]) -> None:
    """Every accepted task ended once, and the chain says the same."""
    assert len(set(ids)) == len({task["task_address"] for task in tasks}) == TASKS
    for task, proof in zip(tasks, proofs, strict=True):
        on_chain = TaskOnChain(up["rpc_url"], task["task_address"])
        assert on_chain.request_hash == salted(proof["salt"], proof["request"])
        if task["status"] == "failed":
            assert task["error_code"]
            assert on_chain.status == FAILED
        else:
            assert on_chain.status == COMPLETED
            assert on_chain.response_hash == salted(proof["salt"], proof["answer"])
            assert on_chain.node == proof["node"].lower()


def told_once(up: dict[str, Any], tasks: list[dict[str, Any]], *, forgetful: bool) -> None:
    """`forgetful`: anvil's snapshots hold the state of a block a moment before they hold the block, so when it was
    killed it may have forgotten an event, and not what it was about."""
    opened, completed = events(up, OPENED_EVENT), events(up, COMPLETED_EVENT)
    for task in tasks:
        address, ends = task["task_address"].lower(), int(task["status"] == "completed")
        assert opened[address] <= 1
        assert completed[address] <= ends
        assert forgetful or (opened[address], completed[address]) == (1, ends)


@pytest.mark.timeout(600)
async def test_every_process_is_killed_once(network: RunningNetwork, report: Callable[[str], None]) -> None:
    fates = []
    for victim in VICTIMS:
        fates.append(await kill_while_busy(network, victim))
        report(str(fates[-1]))
    done = sum(fate.outcomes["completed"] for fate in fates)
    assert done >= 0.9 * TASKS * len(fates), "an honest `failed` is allowed, but it is not the rule"
