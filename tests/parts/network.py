"""The whole network as scripts/up starts it: two nodes of four slots, free ports, state in a temporary directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from contracts.toolchain import ToolMissing, anvil_binary
from scripts.network.children import ROOT, die_with
from scripts.network.redis import binary
from tests.parts.missing import missing

PATIENCE = 180.0  # seconds until all is ready, and until all is stopped


def eventually(look: Callable[[], Any], patience: float = 60.0, what: str = "it") -> Any:
    """The first true thing that `look` returns. Raises AssertionError when time is up."""
    deadline = time.monotonic() + patience
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what} did not happen within {patience:.0f} s"
        time.sleep(0.02)
    return seen


@dataclass
class RunningNetwork:
    """One `scripts/up` after its set-up. `up` is up.json as it is now."""

    state: Path
    nodes: int = 2
    options: tuple[str, ...] = ()
    process: subprocess.Popen[str] = field(init=False)

    @property
    def output(self) -> Path:
        return self.state.with_suffix(".output")

    @property
    def up(self) -> dict[str, Any]:
        seen: dict[str, Any] = json.loads((self.state / "up.json").read_text())
        return seen

    def start(self) -> None:
        command = [sys.executable, "-m", "scripts.network", "--state", str(self.state), "--nodes", str(self.nodes)]
        with self.output.open("a") as output:
            self.process = subprocess.Popen(
                [*command, "--port", "0", *self.options],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                text=True,
                start_new_session=True,
                preexec_fn=die_with(os.getpid()),
            )

    def until_ready(self) -> None:
        """Returns once up.json is there. Raises AssertionError with what was printed."""
        ready = self.state / "up.json"
        eventually(lambda: ready.exists() or self.process.poll() is not None, PATIENCE, f"{ready}")
        assert self.process.poll() is None, self.output.read_text()

    def interrupt(self) -> int:
        """Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.interrupt()

    def family(self) -> list[int]:
        """Every process of this network: itself and all below it."""
        return [self.process.pid, *descendants(self.process.pid)]


def descendants(pid: int) -> list[int]:
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()
    ]
    return children + [below for child in children for below in descendants(child)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def need_parts() -> None:
    try:
        binary()
        anvil_binary()
    except (FileNotFoundError, ToolMissing) as error:
        missing(str(error))


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNetwork]:
    """Shared by all tests: leave it running, and its processes healed."""
    need_parts()
    running = RunningNetwork(tmp_path_factory.mktemp("network") / "state")
    running.start()
    try:
        running.until_ready()
        eventually(lambda: "stays up until Ctrl-C" in running.output.read_text(), PATIENCE, "the sample task")
        yield running
    finally:
        running.close()
