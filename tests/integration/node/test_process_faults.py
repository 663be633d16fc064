"""A node's process while its broker breaks, its backend is not there yet, or a client prints into its log."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from coordinator.protocol.envelope import Envelope
from coordinator.protocol.report import FailureCode
from tests.fakes.coordinator_http import PATIENCE, envelope, until
from tests.integration.node.processes import ROOT, Network
from tests.parts.ports import free_port


async def test_redis_killed_and_restarted_in_the_middle(network: Network) -> None:
    await network.start()
    network.backend.open.clear()
    running = network.put(2)
    await until(lambda: network.backend.busy == 2)
    network.broker.server.kill()
    network.backend.open.set()
    await until(lambda: len(network.answers()) == 2)
    network.broker.server.start()  # without its users: they were not saved
    more = network.put(2)
    await until(lambda: set(network.answers()) == {one.task_id for one in running + more})
    assert len(network.coordinator.sessions) > 1


async def test_broker_connections_cut_again_and_again(network: Network) -> None:
    """By the server, while attempts run: they go on, and the next ones come over a new connection."""
    await network.start()
    given: list[Envelope] = []
    for _ in range(3):
        network.backend.open.clear()
        running = network.put(2)
        await until(lambda: network.backend.busy == 2)
        network.broker.cut()
        network.backend.open.set()
        given.extend(running + network.put(2))
        await until(lambda: set(network.answers()) == {one.task_id for one in given})
    assert len(network.coordinator.sessions) == 1
    assert not network.failures()


async def test_redis_hangs_in_the_middle(network: Network) -> None:
    await network.start()
    network.backend.open.clear()
    running = network.put(2)
    await until(lambda: network.backend.busy == 2)
    network.broker.server.tell(signal.SIGSTOP)
    network.backend.open.set()
    await until(lambda: len(network.answers()) == 2)  # Reports need no broker
    await asyncio.sleep(2)  # as long as it hangs: over a pop that is due
    network.broker.server.tell(signal.SIGCONT)
    more = network.put(2)
    await until(lambda: set(network.answers()) == {one.task_id for one in running + more})
    assert len(network.coordinator.sessions) == 1


async def test_a_lost_envelope_is_missed_and_handed_back(network: Network) -> None:
    """Popped from the queue at the moment the connection broke: a new session does not find it, so it is given up."""
    lost = envelope()
    await network.start()
    network.coordinator.expected.append(lost.attempt_id)
    await until(lambda: network.failures().get(lost.task_id) is FailureCode.HANDED_BACK)
    assert len(network.coordinator.sessions) == 2


async def test_a_cancelled_attempt_is_stopped(network: Network) -> None:
    await network.start()
    network.backend.open.clear()
    given = network.put(1)
    await until(lambda: network.backend.busy)
    network.coordinator.cancelled.append(given[0].attempt_id)
    await until(lambda: network.backend.broken_off)
    network.coordinator.cancelled.clear()
    network.backend.open.set()
    network.put(1)
    await until(lambda: len(network.coordinator.reports) == 1)
    assert given[0].task_id not in network.answers()


async def test_it_waits_for_its_backend(network: Network) -> None:
    await network.backend.stop()
    node = await network.start(until_it_beats=False)
    await until(lambda: "waiting for it" in node.log)
    assert not network.coordinator.sessions
    await network.backend.start()
    await until(lambda: network.coordinator.beats)
    await network.backend.stop()
    given = network.put(1)
    await until(lambda: network.failures().get(given[0].task_id) is FailureCode.BACKEND_UNREACHABLE)
    await until(lambda: network.coordinator.beats[-1].draining)
    await network.backend.start()
    await until(lambda: not network.coordinator.beats[-1].draining)


async def test_stopped_while_it_waits_for_its_backend(network: Network) -> None:
    await network.backend.stop()
    node = await network.start(until_it_beats=False)
    await until(lambda: "waiting for it" in node.log)
    node.tell(signal.SIGTERM)
    assert await node.ends() == 0


def asking_for_too_long_a(secret: str) -> dict[str, Any]:
    """A grammar that llama.cpp can't use, and prints, whatever it is told about logging."""
    schema = {"type": "object", "properties": {secret: {"type": "string", "minLength": 2_000_000_000}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {**schema, "required": [secret]}}}
    return {"model": "relay/tiny-chat", "messages": [{"role": "user", "content": "Hello!"}], "response_format": form}


async def test_what_llama_cpp_prints_of_a_request_is_in_no_log(network: Network) -> None:
    node = await network.start(NODE_BACKEND_URL="", NODE_MODELS="")
    given = envelope(asking_for_too_long_a("SECRET"), model="relay/tiny-chat")
    network.broker.put(given)
    await until(lambda: network.failures() == {given.task_id: FailureCode.BACKEND_REFUSED})
    node.tell(signal.SIGTERM)
    assert await node.ends() == 0
    assert "SECRET" not in node.log
    assert node.lines()[-1]["event"] == "left"


async def test_the_embedded_model_answers(network: Network) -> None:
    node = await network.start(NODE_BACKEND_URL="", NODE_MODELS="")
    given = network.put(8, model="relay/tiny-chat")
    await until(lambda: len(network.answers()) == 8)
    answer = json.loads(network.answers()[given[0].task_id].answer or "")
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] > 0
    node.tell(signal.SIGTERM)
    assert await node.ends() == 0
    assert "embedded llama.cpp" in node.lines()[0]["event"]


def test_the_model_alone(tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "model.log"
    with log.open("wb") as written:
        command = [sys.executable, "-m", "node", "model", "--port", str(port), "--slots", "2"]
        process = subprocess.Popen(command, cwd=ROOT, stderr=written)
    try:
        asyncio.run(until(lambda: "is served at" in log.read_text()))
        asked = {"messages": [{"role": "user", "content": "Hello!"}], "n": 10, "logprobs": True, "top_logprobs": 2}
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        with urllib.request.urlopen(url, json.dumps(asked).encode(), PATIENCE) as response:
            assert len(json.load(response)["choices"]) == 10
        with pytest.raises(urllib.error.HTTPError, match="400") as refused:
            urllib.request.urlopen(url, json.dumps(asking_for_too_long_a("SECRET")).encode(), PATIENCE)
        refused.value.close()
        taken = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
        assert taken.returncode == 1
        assert "is taken" in taken.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert "SECRET" not in log.read_text()
    finally:
        process.kill()
        process.wait()


def test_wrong_settings_and_keys_are_said_plainly(tmp_path: Path) -> None:
    def run(*arguments: str, **settings: str) -> tuple[int, str, str]:
        # PYTHONUNBUFFERED would hide an answer that is never flushed
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("NODE_", "PYTHONUNBUF"))}
        command = [sys.executable, "-m", "node", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env={**clean, **settings}, capture_output=True, text=True, timeout=PATIENCE
        )
        return done.returncode, done.stdout, done.stderr

    code, _, said = run("run")
    assert code == 2
    assert said.count("is missing") == 2
    code, address, _ = run("key", "--out", str(tmp_path / "key"))
    assert code == 0
    assert address.startswith("0x")
    assert run("key", "--out", str(tmp_path / "key"))[0] == 2
    (tmp_path / "key").chmod(0o644)
    code, _, said = run("run", NODE_KEY_FILE=str(tmp_path / "key"), NODE_COORDINATOR_URL="http://127.0.0.1:1")
    assert code == 2
    assert "chmod 600" in said
    assert "Traceback" not in said
