"""What a heartbeat, a task and a sign-in cost the coordinator beside 10, 100 and 1,000 nodes.

One API process, one Redis, simulated nodes. The same number of heartbeats a second is sent at each size (at 1,000 nodes
it is their real rate, one every two seconds), so that whatever differs is the size's doing. CPU is that of the
processes, from /proc; the time in scripts is Redis's own count.
"""

from __future__ import annotations

import asyncio
import math
import re
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from scripts.benchmark.stage import REQUEST, Stage, ask_many, stage
from scripts.benchmark.swarm import Swarm
from scripts.network.chain import Chain
from scripts.network.redis import Redis
from scripts.network.relay import MODEL
from scripts.network.stake import stake_nodes

SIZES = (10, 100, 1000)
SLOTS = 4
BEATS_A_SECOND, TASKS, AT_ONCE = 500, 400, 16
BEAT_SECONDS, IDLE_SECONDS = 4.0, 2.0
# Enough to keep 1,000 nodes alive while tasks are measured.
FEWER_BEATS = 200
# The last is a clock's time, not a CPU's: on a machine that does other things it says little.
PARTS = ("CPU of the API", "CPU of Redis", "in Redis's scripts")


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds used so far: CPU of the API, CPU of Redis, and of that in scripts; when, and after how many beats."""

    api: float
    redis: float
    scripts: float
    at: float
    beats: int

    def since(self, earlier: Reading) -> Reading:
        return Reading(*(getattr(self, name) - getattr(earlier, name) for name in self.__slots__))

    def less(self, other: Reading, times: float) -> Reading:
        return Reading(*(getattr(self, name) - times * getattr(other, name) for name in self.__slots__))

    def each(self, count: int) -> tuple[float, float, float]:
        """Microseconds of API, Redis and scripts."""
        return self.api / count * 1e6, self.redis / count * 1e6, self.scripts / count * 1e6


@dataclass(slots=True)
class Meter:
    stage: Stage
    redis: Redis
    swarm: Swarm

    def read(self) -> Reading:
        return Reading(
            self.stage.cpu_seconds("api"),
            self.stage.cpu_seconds("redis"),
            self._scripts(),
            asyncio.get_running_loop().time(),
            self.swarm.beats,
        )

    async def over(self, seconds: float) -> Reading:
        before = self.read()
        await asyncio.sleep(seconds)
        return self.read().since(before)

    def _scripts(self) -> float:
        said = self.redis.command("INFO", "commandstats").decode()
        return sum(int(used) for used in re.findall(r"cmdstat_evalsha:calls=\d+,usec=(\d+)", said)) / 1e6


Costs = dict[str, list[tuple[float, float, float]]]


async def measure(rounds: int) -> list[str]:
    costs: dict[int, Costs] = {}
    async with _swarm(max(SIZES)) as meter:
        for size in SIZES:
            costs[size] = await _at_size(meter, size, rounds)
    return _table(costs)


async def _at_size(meter: Meter, size: int, rounds: int) -> Costs:
    count, before = size - len(meter.swarm.nodes), meter.read()
    await meter.swarm.grow(size)
    joining = meter.read().since(before)
    costs: Costs = {"sign-in": [], "heartbeat": [], "task": [], "waiting": []}
    async with meter.stage.client(AT_ONCE) as session:
        for _ in range(rounds):
            meter.swarm.rate = 0
            idle = await meter.over(IDLE_SECONDS)
            costs["waiting"].append(idle.each(1))
            meter.swarm.rate = BEATS_A_SECOND
            beating = await meter.over(BEAT_SECONDS)
            beat = beating.less(idle, beating.at / idle.at)
            costs["heartbeat"].append(beat.each(beating.beats))
            joins = joining.less(idle, joining.at / idle.at / 2)  # half of them were there, on average
            costs["sign-in"].append(joins.less(beat, joining.beats / beating.beats).each(count))
            meter.swarm.rate = FEWER_BEATS
            before = meter.read()
            await ask_many(session, meter.stage.chat, {**REQUEST, "mode": "opengpu"}, TASKS, AT_ONCE)
            working = meter.read().since(before)
            tasks = working.less(idle, working.at / idle.at).less(beat, working.beats / beating.beats)
            costs["task"].append(tasks.each(TASKS))
    meter.swarm.rate = size / 2
    return costs


@asynccontextmanager
async def _swarm(most: int) -> AsyncIterator[Meter]:
    """A network without nodes of its own; the swarm's are registered on its chain, each with its stake."""
    async with stage(nodes=0, slots=SLOTS) as made:
        swarm = Swarm(made.up["base_url"], MODEL, SLOTS, most)
        url = made.up["redis_url"]
        redis = Redis(made.home / "redis", int(url.rsplit(":", 1)[1].split("/")[0]), url.split(":")[2].split("@")[0])
        await _register(made, redis, swarm)
        try:
            yield Meter(made, redis, swarm)
        finally:
            await swarm.end()


async def _register(made: Stage, redis: Redis, swarm: Swarm) -> None:
    """Returns once the chain writer's process has seen all the stakes, so that none of its work is measured."""
    chain = Chain(made.home / "chain", int(made.up["rpc_url"].rsplit(":", 1)[1]))
    keys = [node.identity.key for node in swarm.made]
    await stake_nodes(chain, made.up["contracts"]["NodeRegistry"], made.home / "keys/provider.key", keys)
    while int(redis.command("HLEN", "relay:stakes").strip(b":\r\n")) < len(keys):
        await asyncio.sleep(0.1)


def _table(costs: dict[int, Costs]) -> list[str]:
    """One line a cost: its median at each size, and how many times it grew from the smallest to the largest."""
    logs = math.log(max(SIZES)) / math.log(min(SIZES))
    heads = "".join(f"{size:>8,}" for size in SIZES)
    lines = [f"µs, at so many nodes            {heads}   growth (the logarithm grows {logs:.1f} times)"]
    for what in ("heartbeat", "task", "sign-in"):
        for part, where in enumerate(PARTS if what != "sign-in" else PARTS[:2]):
            medians = [statistics.median(each[part] for each in costs[size][what]) for size in SIZES]
            shown = "".join(f"{median:>8.0f}" for median in medians)
            growth = medians[-1] / medians[0] if medians[0] > 0 else math.nan
            lines.append(f"{what:<10} {where:<20} {shown}   {growth:.2f}")
    most = max(SIZES)
    api, redis = (statistics.median(each[part] for each in costs[most]["heartbeat"]) * most / 2 for part in (0, 1))
    popping = statistics.median(each[1] for each in costs[most]["waiting"]) / IDLE_SECONDS
    return [
        *lines,
        f"{most:,} nodes' heartbeats, one every two seconds each, take {api / 1e4:.0f} % of a core in the API and "
        f"{redis / 1e4:.0f} % in Redis; their consumers, waiting, {popping / 1e4:.0f} % in Redis",
    ]
