"""`python -m node run` as its provider starts it, with a broker, a coordinator and a backend beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from coordinator.protocol.envelope import Envelope
from coordinator.protocol.report import FailureCode, Report
from tests.fakes.backend import BackendHttp
from tests.fakes.coordinator_http import CoordinatorHttp, envelope, until
from tests.integration.node.broker import Broker

ROOT = Path(__file__).resolve().parents[3]
PROMPT = "a prompt that belongs in no log"


class NodeProcess:
    def __init__(self, home: Path, settings: dict[str, str]) -> None:
        self._log = home / f"node-{len(list(home.glob('node-*.log')))}.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("NODE_")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node", "run"], cwd=ROOT, env={**clean, **settings}, stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines()]

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ends(self) -> int:
        await until(lambda: self.process.poll() is not None)
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Network:
    """One coordinator, one broker, one backend, and the processes that a test starts."""

    def __init__(self, home: Path, broker: Broker, coordinator: CoordinatorHttp, backend: BackendHttp) -> None:
        self.home, self.broker, self.coordinator, self.backend = home, broker, coordinator, backend
        self.started: list[NodeProcess] = []
        self._key = home / "node.key"
        self._key.touch(0o600)
        self._key.write_text(str(broker.identity.key))

    async def start(self, *, until_it_beats: bool = True, **settings: str) -> NodeProcess:
        beats = len(self.coordinator.beats)
        defaults = {
            "NODE_KEY_FILE": str(self._key),
            "NODE_COORDINATOR_URL": self.coordinator.url,
            "NODE_BACKEND_URL": self.backend.url,
            "NODE_MODELS": "m=own/name",
            "NODE_SLOTS": "2",
        }
        kept = {name: value for name, value in {**defaults, **settings}.items() if value}
        self.started.append(NodeProcess(self.home, kept))
        if until_it_beats:
            await until(lambda: len(self.coordinator.beats) > beats)
        return self.started[-1]

    def put(self, count: int = 1, model: str = "m") -> list[Envelope]:
        messages = [{"role": "user", "content": PROMPT}]
        given = [envelope({"model": model, "messages": messages, "seed": 1}, model=model) for _ in range(count)]
        for one in given:
            self.broker.put(one)
        return given

    def answers(self) -> dict[str, Report]:
        return {report.task_id: report for report in self.coordinator.reports if report.failure is None}

    def failures(self) -> dict[str, FailureCode]:
        return {report.task_id: report.failure.code for report in self.coordinator.reports if report.failure}
