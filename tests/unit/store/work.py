"""What nodes do with what they are given, and what that makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

from coordinator.errors import UpstreamError, UpstreamTimeout
from coordinator.protocol.ids import TaskId
from tests.unit.store.ageing import standing
from tests.unit.store.network import Network

BROKEN = UpstreamError("broken")
SLOW = UpstreamTimeout("slow")
Work = Callable[[str, str], Awaitable[None]]


async def run_all(network: Network, nodes: list[str], work: Work) -> Counter[str]:
    """Until nobody holds anything: the attempts that each node had."""
    had: Counter[str] = Counter()
    while held := [(node, attempt) for node in nodes for attempt in sorted(await network.held(node))]:
        for node, attempt in held:
            had[node] += 1
            await work(node, attempt)
    return had


async def fails(network: Network, node: str, attempt: str, error: UpstreamError | UpstreamTimeout = BROKEN) -> None:
    task, _, number = attempt.rpartition("#")
    assert await network.tasks.give_up_attempt(TaskId(task), int(number), node, "fault", error) is None


async def give_up(network: Network, task: TaskId) -> None:
    await network.redis.zadd("relay:deadlines", {task: 0})
    await network.sweep()


async def break_down(network: Network, node: str, times: int = 5, error: UpstreamError = BROKEN) -> None:
    """The node alone: each task's first attempt goes wrong, and its time is up before the next."""
    for _ in range(times):
        task = await network.submit()
        assert await network.held(node) == {f"{task}#1"}
        await fails(network, node, f"{task}#1", error)
        await give_up(network, task)


async def counts(network: Network, node: str) -> tuple[int, int, int]:
    seen = await standing(network, node)
    return round(seen["successes"]), round(seen["faults"]), round(seen["timeouts"])
