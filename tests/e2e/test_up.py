"""`scripts/up` itself: the sample task, Ctrl-C, a second start, ports and directories that are taken."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.network.children import ROOT
from tests.e2e.relay_client import client, ended, recorded, submit
from tests.parts.network import RunningNetwork, alive, descendants, eventually, need_parts


def up(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    need_parts()
    command = [str(ROOT / "scripts/up"), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)


def test_once(tmp_path: Path) -> None:
    done = up("--once", "--port", "0", "--state", "state", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for step in ("asked", "accepted", "address", "node", "answer", "recorded", "verified", "curl", "OpenAI"):
        assert step in done.stdout
    assert (tmp_path / "state/redis/appendonly.aof").exists(), "a relative --state counts from the user's directory"


def test_help_needs_nothing_installed() -> None:
    done = subprocess.run(
        [str(ROOT / "scripts/up"), "--help"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--once", "--port", "--state", "--nodes", "--fresh"))


def stable(seen: dict[str, Any]) -> dict[str, Any]:
    return {
        key: seen[key] for key in ("base_url", "api_key", "superkey", "rpc_url", "chain_id", "contracts", "redis_url")
    }


@pytest.mark.timeout(600)
async def test_a_second_start_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    need_parts()
    running = RunningNetwork(tmp_path / "state", nodes=1)
    running.start()
    try:
        running.until_ready()
        first = running.up
        assert stat.S_IMODE((running.state / "up.json").stat().st_mode) == 0o600
        async with client(first) as http:
            task_id = await submit(http, "Hello!")
            proof = await recorded(http, task_id)
            task = await ended(http, task_id)
        family = running.family()
        assert len(family) >= 7
        assert running.interrupt() == 0
        assert not [pid for pid in family if alive(pid)]
        assert not (running.state / "up.json").exists()

        running.start()
        running.until_ready()
        assert stable(running.up) == stable(first)
        async with client(running.up) as http:
            again = await ended(http, task_id)
            assert again["chain"].pop("confirmations") >= task["chain"].pop("confirmations")
            assert again == task
            assert await recorded(http, task_id) == proof
            assert (await ended(http, await submit(http, "Hello again!")))["status"] == "completed"
    finally:
        running.close()


def test_up_json_says_where_everything_is(network: RunningNetwork) -> None:
    seen = network.up
    assert {"base_url", "api_key", "superkey", "rpc_url", "chain_id", "contracts", "redis_url", "pids", "logs"} <= set(
        seen
    )
    assert seen["superkey"].startswith("relay_sk_")
    assert seen["superkey"] != seen["api_key"]
    assert set(seen["contracts"]) == {"TaskRegistry", "NodeRegistry"}
    assert set(seen["pids"]) == {"redis", "chain", "chain_writer", "api", "model", "nodes"}
    pids = [*seen["pids"]["nodes"], *(pid for name, pid in seen["pids"].items() if name != "nodes")]
    assert len(seen["pids"]["nodes"]) == 2
    assert set(pids) <= set(descendants(network.process.pid))
    logs = [*seen["logs"].pop("nodes"), *seen["logs"].values()]
    assert all(Path(log).exists() for log in logs)


def test_a_directory_in_use(network: RunningNetwork) -> None:
    done = up("--state", str(network.state), "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert f"{network.state} is in use by another scripts/up (pid {network.process.pid})" in line
    assert json.loads((network.state / "up.json").read_text())["base_url"], "and the one that runs is not disturbed"


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = up("--state", str(tmp_path / "state"), "--port", str(port))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"scripts/up: port {port} is taken")
    assert "--port" in line


def test_no_orphans_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    need_parts()
    running = RunningNetwork(tmp_path / "state", nodes=1)
    running.start()
    running.until_ready()
    family = running.family()
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    eventually(lambda: not any(alive(pid) for pid in family), what="the end of all children")
