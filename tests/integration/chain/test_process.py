"""`python -m coordinator chain`, killed with -9 at any moment."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.integration.chain.network import PATIENCE, Line
from tests.integration.chain.test_writer import DEPOSIT, judge
from tests.parts.servers import RedisServer

ROOT = Path(__file__).resolve().parents[3]


def start(line: Line, redis_server: RedisServer, log: Path) -> subprocess.Popen[bytes]:
    network = line.network
    settings = {
        "RELAY_REDIS_URL": redis_server.url,
        "RELAY_CATALOGUE": str(ROOT / "coordinator" / "relay.example.toml"),
        "RELAY_RPC_URL": network.anvil.url,
        "RELAY_CHAIN_KEY_FILE": str(network.key_file),
        "RELAY_TASK_REGISTRY": network.space.task_registry,
        "RELAY_NODE_REGISTRY": network.deployment.node_registry,
        "RELAY_CHAIN_ID": str(network.space.chain_id),
        "RELAY_BATCH_WAIT_MS": "50",
    }
    with log.open("ab") as output:
        command = [sys.executable, "-m", "coordinator", "chain"]
        return subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stdout=output, stderr=output)


async def test_kill_9(line: Line, redis_server: RedisServer, tmp_path: Path) -> None:
    log = tmp_path / "chain.log"
    await line.network.pay_in(DEPOSIT)
    for round_number in range(3):
        process = start(line, redis_server, log)
        first = await line.submit(20)
        await line.end(first, completed=round_number != 1)
        # as soon as it has begun with these, so that most of them are on their way
        await line.until_records(lambda record: record["opening"] != "pending", first[:1])
        process.kill()
        process.wait()
    process = start(line, redis_server, log)
    await line.until("confirmed", "confirmed")
    # the third one may have done it all; before the fourth one listens, a signal is its end
    await line.until_records(lambda _: log.read_text().count("chain_writer_started") == 4)
    process.terminate()
    assert await asyncio.to_thread(process.wait, PATIENCE) == 0, log.read_text()[-2000:]
    await judge(line)
    said = log.read_text()
    assert "Traceback" not in said
    assert not any(task.id in said for task in line.tasks)
