"""opengpu tasks a second, from the client's call to its answer, recording on, beside Celery no-ops with results."""

from __future__ import annotations

import asyncio
import statistics
import time

from scripts.benchmark.stage import REQUEST, Stage, ask_many
from scripts.benchmark.yardstick import yardstick
from scripts.network.redis import Redis

TASKS, AT_ONCE = 1000, 64


async def measure(stage: Stage, rounds: int) -> list[str]:
    relay: list[float] = []
    celery: list[float] = []
    async with yardstick(stage.home / "logs") as celery_app, stage.client(AT_ONCE) as session:
        before = {name: stage.cpu_seconds(name) for name in stage.family.children}
        for _ in range(rounds):
            celery.append(TASKS / await celery_app.run(TASKS))
            took = await ask_many(session, stage.chat, {**REQUEST, "mode": "opengpu"}, TASKS, AT_ONCE)
            relay.append(TASKS / took)
        recorded = await _recorded(stage)
        used = {name: stage.cpu_seconds(name) - before[name] for name in before if name != "backend"}
    costs = ", ".join(f"{name} {seconds / rounds / TASKS * 1000:.1f}" for name, seconds in used.items())
    one, other = statistics.median(relay), statistics.median(celery)
    return [
        f"opengpu, synchronous, {AT_ONCE} at once  {_shown(relay)} tasks/s",
        f"Celery no-op with result         {_shown(celery)} tasks/s",
        f"ratio                            {one / other:.2f}   (aim: ≥ 1.0)",
        f"CPU a task, ms                   {costs}",
        f"recorded on chain                {recorded:.1f} s after the last answer",
    ]


async def _recorded(stage: Stage) -> float:
    """Seconds until the outbox is empty."""
    url = stage.up["redis_url"]
    redis = Redis(stage.home / "redis", int(url.rsplit(":", 1)[1].split("/")[0]), url.split(":")[2].split("@")[0])
    started = time.perf_counter()
    while any(redis.command("ZCARD", f"relay:outbox:{leg}") != b":0\r\n" for leg in ("open", "settle")):
        await asyncio.sleep(0.05)
    return time.perf_counter() - started


def _shown(rates: list[float]) -> str:
    return f"{statistics.median(rates):7.0f} ({min(rates):.0f} to {max(rates):.0f})"
