"""Celery as it comes: prefork worker, Redis as broker and result backend without an append-only file, a no-op task."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from celery import Celery

from scripts.network.children import Family, Recipe
from scripts.network.home import free_port
from scripts.network.redis import binary

URL = os.environ.get("YARDSTICK_REDIS", "")
app = Celery("yardstick", broker=URL, backend=URL, set_as_current=False)
app.conf.broker_connection_retry_on_startup = True


@app.task(name="noop")  # type: ignore[untyped-decorator]
def noop() -> int:
    return 1


class Yardstick:
    """Counts seconds for a number of no-ops, sent and their results fetched."""

    def __init__(self, url: str) -> None:
        self._app = Celery("yardstick", broker=url, backend=url, set_as_current=False)

    async def run(self, tasks: int) -> float:
        return await asyncio.to_thread(self._run, tasks)

    def _run(self, tasks: int) -> float:
        started = time.perf_counter()
        for result in [self._app.send_task("noop") for _ in range(tasks)]:
            result.get(timeout=60)
        return time.perf_counter() - started


@asynccontextmanager
async def yardstick(logs: Path) -> AsyncIterator[Yardstick]:
    family, port = Family(print), free_port()
    url = f"redis://127.0.0.1:{port}/0"
    redis = [str(binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(logs)]
    worker = [sys.executable, "-m", "celery", "-A", "scripts.benchmark.yardstick", "worker", "--loglevel", "ERROR"]
    try:
        await family.start(Recipe("redis", lambda: redis, logs / "yardstick-redis.log"))
        await family.start(Recipe("celery", lambda: worker, logs / "celery.log", {"YARDSTICK_REDIS": url}))
        made = Yardstick(url)
        await made.run(200)
        yield made
    finally:
        await family.stop()
