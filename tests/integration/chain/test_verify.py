"""relay-verify as a stranger runs it: against a relay's HTTP API and an EVM node."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from coordinator.chain.verify import main
from tests.fakes.chain_proofs import proof_of
from tests.integration.chain.network import Line


class LyingRelay:
    """Answers every proof with `body`."""

    def __init__(self) -> None:
        self.body: Any = {}
        self.status, self.path = 200, ""
        relay = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                relay.path = self.path
                self.send_response(relay.status)
                self.end_headers()
                self.wfile.write(json.dumps(relay.body).encode())

            def log_message(self, format: str, *args: object) -> None:
                return None

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def relay() -> Iterator[LyingRelay]:
    relay = LyingRelay()
    thread = threading.Thread(target=relay.server.serve_forever)
    thread.start()
    yield relay
    relay.server.shutdown()
    thread.join()
    relay.server.server_close()


async def verify(relay: LyingRelay, line: Line, *options: str) -> int:
    arguments = [relay.body.get("task_id", "opengpu:x"), "--base-url", relay.url, "--rpc-url", line.network.anvil.url]
    return await asyncio.to_thread(main, [*arguments, *options])


async def test_recorded_tasks(line: Line, relay: LyingRelay, capsys: pytest.CaptureFixture[str]) -> None:
    await line.network.pay_in(10**9)
    completed, failed = await line.submit(2)
    await line.end([completed])
    await line.end([failed], completed=False)
    line.start()
    records = await line.until("confirmed", "confirmed")
    relay.body = proof_of(completed, records[0])
    assert await verify(relay, line, "--registry", line.network.space.task_registry) == 0, capsys.readouterr()
    assert relay.path == f"/v2/tasks/{completed.id}/proof"
    assert "all hold" in capsys.readouterr().out
    relay.body = proof_of(completed, records[0]) | {"answer": "I never said that"}
    assert await verify(relay, line) == 1
    assert "response hash" in capsys.readouterr().out
    relay.body = proof_of(failed, records[1], code="UPSTREAM_TIMEOUT")
    assert await verify(relay, line) == 0
    relay.body["error_code"] = "CLIENT_FAULT"
    assert await verify(relay, line) == 1


async def test_what_can_not_be_checked(line: Line, relay: LyingRelay, capsys: pytest.CaptureFixture[str]) -> None:
    async def said(*options: str) -> str:
        assert await verify(relay, line, *options) == 2
        return capsys.readouterr().err

    (task,) = await line.submit(1)
    relay.body = proof_of(task, task.submitted())
    assert "no task contract" in await said()
    for wrong in (task.address, line.network.deployment.node_registry):
        assert f"no TaskRegistry of this version at {wrong}" in await said("--registry", wrong)
    with pytest.raises(SystemExit):
        await said("--registry", "0x12")
    assert "--registry: must be an address" in capsys.readouterr().err
    line.start()
    (record,) = await line.until("confirmed", "none")
    relay.body = proof_of(task, record)
    assert "open on chain: its settlement is none" in await said()
    relay.body["status"] = "running"
    assert "the task is running" in await said()
    relay.body = {"status": "completed", "task_address": task.address, "task_registry": task.space.task_registry}
    assert "malformed (KeyError" in await said()
    relay.body = {"status": "completed", "mode": "direct"}
    assert "no record on chain" in await said()
    relay.status, relay.body = 404, {"error": {"code": "TASK_NOT_FOUND", "message": "There is no such task."}}
    assert "answered 404: There is no such task." in await said()
    relay.status, relay.body = 200, proof_of(task, record)
    await asyncio.to_thread(line.network.anvil.kill)
    assert "can't be reached" in await said()
    await line.kill()
