"""How many tasks a second one signer opens and settles on anvil, and for how much gas.

    python -m tests.integration.chain.bench_chain [tasks]

No test: the number depends on what else the machine does. Redis and anvil are real, in a temporary folder.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import structlog
from pydantic import SecretStr

from coordinator.chain.policy import WriterPolicy
from coordinator.store.connection import connect
from tests.fakes.chain_benches import RedisBench
from tests.integration.chain.network import AnvilNetwork, Line
from tests.parts.servers import Anvil, RedisServer


async def measure(count: int, anvil: Anvil, redis_server: RedisServer, home: Path) -> None:
    network, redis = AnvilNetwork(anvil, home / "key"), connect(SecretStr(redis_server.url))
    await network.deploy()
    await network.pay_in(10**12)
    line = Line(network, RedisBench(redis), WriterPolicy())
    tasks = await line.submit(count)
    await line.end(tasks)
    started, used = time.monotonic(), time.process_time()
    line.start()
    # the newest settlement comes last: asking for one record costs the writer nothing
    await line.until("confirmed", "confirmed", tasks[-1:])
    seconds, used = time.monotonic() - started, time.process_time() - used
    records = await line.until("confirmed", "confirmed")
    await line.stop()
    gas = [sum(int(record[f"{leg}_gas"]) for record in records) / count for leg in ("opening", "settlement")]
    print(f"{count} tasks opened and settled in {seconds:.2f} s: {count / seconds:.0f} tasks/s")
    print(f"writer: {1000 * used / count:.2f} ms of CPU a task")
    print(f"gas a task: {gas[0]:.0f} to open, {gas[1]:.0f} to settle, {sum(gas):.0f} in all")
    await network.close()
    await redis.aclose()


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        anvil, redis_server = Anvil(home / "anvil"), RedisServer(home / "redis")
        anvil.start()
        redis_server.start()
        try:
            asyncio.run(measure(count, anvil, redis_server, home))
        finally:
            anvil.stop()
            redis_server.stop()


if __name__ == "__main__":
    main()
