"""Every connection to Redis is cut by the server, again and again, while tasks are under way; then it is killed.

What stopped consuming works again by itself: nobody starts a node, and no task is the worse for it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

from redis import Redis

from tests.e2e.relay_client import client, ended, submit
from tests.parts.network import RunningNetwork

TASKS, CUTS = 20, 3


async def test_nodes_consume_again_after_their_connections_are_cut(
    network: RunningNetwork, report: Callable[[str], None]
) -> None:
    nodes = network.up["pids"]["nodes"]
    started = time.monotonic()
    async with client(network.up) as http:
        ids: list[str] = []
        for _ in range(CUTS):
            submits = [asyncio.create_task(submit(http, f"What is {n} + 3?")) for n in range(TASKS)]
            await asyncio.wait(submits, return_when=asyncio.FIRST_COMPLETED)
            with Redis.from_url(network.up["redis_url"]) as redis:
                assert redis.client_kill_filter(_type="normal", skipme=True) > 0
            ids += await asyncio.gather(*submits)
        os.kill(network.up["pids"]["redis"], signal.SIGKILL)
        ids += await asyncio.gather(*(submit(http, f"What is {n} + 4?") for n in range(TASKS)))
        tasks = [await ended(http, task_id) for task_id in ids]
    assert [task["status"] for task in tasks] == ["completed"] * len(ids)
    assert network.up["pids"]["nodes"] == nodes, "the same processes, which healed"
    report(f"all Redis connections cut {CUTS} times, then kill -9: {len(ids)} tasks completed in "
           f"{time.monotonic() - started:.1f} s")  # fmt: skip
