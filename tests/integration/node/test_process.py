"""`python -m node run` as its provider starts it: real process, real Redis, real Celery, real HTTP on both sides."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.protocol import signing
from coordinator.protocol.envelope import Envelope
from coordinator.protocol.hashing import receipt_digest, salted_hash, unhex
from coordinator.protocol.report import FailureCode, Report
from coordinator.protocol.session import REPORT_PATH
from tests.fakes.backend import BackendHttp
from tests.fakes.coordinator_http import CHAIN_ID, PATIENCE, TASK_REGISTRY, CoordinatorHttp, envelope, until
from tests.integration.node.conftest import Broker
from tests.parts.ports import free_port

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


@pytest.fixture
async def network(tmp_path: Path, broker: Broker) -> AsyncIterator[Network]:
    async with CoordinatorHttp(broker.grant, heartbeat_ms=100) as coordinator, BackendHttp() as backend:
        made = Network(tmp_path, broker, coordinator, backend)
        yield made
        for node in made.started:
            node.kill()


@pytest.fixture(autouse=True)
def _nothing_private_in_any_log(tmp_path: Path) -> Iterator[None]:
    yield
    for path in tmp_path.glob("node-*.log"):
        written = path.read_text()
        assert PROMPT not in written
        assert "Traceback" not in written
        assert "redis://node:" not in written


async def test_from_envelope_to_signed_report_to_a_clean_end(network: Network) -> None:
    node = await network.start()
    given = network.put(5)
    await until(lambda: len(network.answers()) == 5)
    assert not network.coordinator.wrong
    for one in given:
        report = network.answers()[one.task_id]
        assert report.answer is not None
        assert report.receipt is not None
        assert report.receipt_signature is not None
        assert report.answer.encode() == network.backend.body
        assert report.receipt.response_hash == salted_hash(unhex(one.salt), network.backend.body)
        digest = receipt_digest(CHAIN_ID, TASK_REGISTRY, report.receipt)
        assert signing.recover(digest, report.receipt_signature) == network.broker.identity.address
    assert network.backend.most_busy <= 2
    sent = {"model": "own/name", "stream": True, "stream_options": {"include_usage": True}}
    assert json.loads(network.backend.requests[0]) == json.loads(given[0].request) | sent
    node.tell(signal.SIGTERM)
    assert await node.ends() == 0
    assert network.coordinator.left == [network.coordinator.session]
    start = node.lines()[0]
    for part in ("m", "2 slots", "vllm at " + network.backend.url, network.coordinator.url):
        assert part in start["event"]
    assert start["node"] == network.broker.identity.address


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_drain(network: Network, number: signal.Signals) -> None:
    node = await network.start()
    network.backend.open.clear()
    running = network.put(2)
    await until(lambda: network.backend.busy == 2)
    waiting = network.put(2)
    await until(lambda: set(network.coordinator.beats[-1].running) >= {one.attempt_id for one in waiting})
    node.tell(number)
    await until(lambda: len(network.failures()) == 2)
    assert network.failures() == {one.task_id: FailureCode.HANDED_BACK for one in waiting}
    late = network.put(1)
    await until(lambda: network.failures().get(late[0].task_id) is FailureCode.HANDED_BACK)
    await until(lambda: network.coordinator.beats[-1].draining)
    await until(lambda: set(network.coordinator.beats[-1].running) == {one.attempt_id for one in running})
    assert node.process.poll() is None
    network.backend.open.set()
    assert await node.ends() == 0
    assert set(network.answers()) == {one.task_id for one in running}
    assert network.coordinator.left


async def test_what_takes_too_long_to_drain_is_stopped(network: Network) -> None:
    node = await network.start(NODE_DRAIN_SECONDS="0.2")
    network.backend.open.clear()
    network.put(1)
    await until(lambda: network.backend.busy)
    node.tell(signal.SIGTERM)
    assert await node.ends() == 0
    await until(lambda: network.backend.broken_off)
    assert not network.coordinator.reports
    assert network.coordinator.left


async def test_a_second_signal_ends_it_at_once(network: Network) -> None:
    node = await network.start()
    network.backend.open.clear()
    network.put(1)
    await until(lambda: network.backend.busy)
    node.tell(signal.SIGTERM)
    await until(lambda: any(line["event"] == "draining" for line in node.lines()))
    node.tell(signal.SIGTERM)
    assert await node.ends() == 128 + signal.SIGTERM


async def test_another_takes_over_while_it_drains(network: Network) -> None:
    """As a service that is restarted: the old one has no leases any more, so it does not wait for what it runs."""
    first = await network.start()
    network.backend.open.clear()
    given = network.put(1)
    await until(lambda: network.backend.busy == 1)
    first.tell(signal.SIGTERM)
    await until(lambda: network.coordinator.beats[-1].draining)
    await network.start()
    assert await first.ends() == 3
    await until(lambda: network.backend.broken_off == 1)
    assert network.failures() == {given[0].task_id: FailureCode.HANDED_BACK}


async def test_the_coordinator_is_away_while_work_is_done(network: Network) -> None:
    await network.start()
    network.backend.open.clear()
    given = network.put(2)
    await until(lambda: network.backend.busy == 2)
    await network.coordinator.stop()
    network.backend.open.set()
    await until(lambda: list((network.home / "node.key.state").rglob("*.report")))
    await network.coordinator.start()
    await until(lambda: set(network.answers()) == {one.task_id for one in given})
    assert len(network.coordinator.sessions) == 1
    await until(lambda: not list((network.home / "node.key.state").rglob("*.report")))


async def test_unposted_reports_survive_the_node(network: Network) -> None:
    """Killed while the coordinator is away; the next process of the same key posts what the first one had finished."""
    node = await network.start()
    network.backend.open.clear()
    given = network.put(2)
    await until(lambda: network.backend.busy == 2)
    await network.coordinator.stop()
    network.backend.open.set()
    await until(lambda: len(list((network.home / "node.key.state").rglob("*.report"))) == 2)
    node.kill()
    await network.coordinator.start()
    await network.start()
    await until(lambda: set(network.answers()) == {one.task_id for one in given})


async def test_a_drain_while_the_coordinator_is_away_leaves_reports_on_disk(network: Network) -> None:
    node = await network.start()
    network.backend.open.clear()
    network.put(1)
    await until(lambda: network.backend.busy == 1)
    await network.coordinator.stop()
    node.tell(signal.SIGTERM)
    network.backend.open.set()
    assert await node.ends() == 0
    assert len(list((network.home / "node.key.state").rglob("*.report"))) == 1


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


async def test_a_second_process_with_the_same_key_takes_over(network: Network) -> None:
    first = await network.start()
    second = await network.start()
    assert await first.ends() == 3
    assert "another process" in first.log
    given = network.put(1)
    await until(lambda: given[0].task_id in network.answers())
    assert second.process.poll() is None


async def test_what_the_first_holds_is_handed_back_when_a_second_takes_over(network: Network) -> None:
    """At once and once each: nobody waits for a lease, and nothing is run twice by one key."""
    first = await network.start()
    network.backend.open.clear()
    given = network.put(4)
    await until(lambda: network.backend.busy == 2)
    await until(lambda: set(network.coordinator.beats[-1].running) == {one.attempt_id for one in given})
    second = await network.start()
    assert await first.ends() == 3
    await until(lambda: network.backend.broken_off == 2)
    assert network.failures() == {one.task_id: FailureCode.HANDED_BACK for one in given}
    assert len(network.coordinator.reports) == 4
    network.backend.open.set()
    again = network.put(4)
    await until(lambda: set(network.answers()) == {one.task_id for one in again})
    assert second.process.poll() is None


async def test_a_report_is_posted_by_whoever_has_the_key_and_taken_once(network: Network) -> None:
    """The first could not post what it had finished; the second finds it on the disk they share."""
    first = await network.start()
    network.backend.open.clear()
    given = network.put(2)
    await until(lambda: network.backend.busy == 2)
    network.coordinator.refuse(REPORT_PATH, 503, "STORE_UNAVAILABLE", 1000)
    network.backend.open.set()
    await until(lambda: len(list((network.home / "node.key.state").rglob("*.report"))) == 2)
    await network.start()
    network.coordinator.refusals.clear()
    assert await first.ends() == 3
    await until(lambda: set(network.answers()) == {one.task_id for one in given})
    await until(lambda: not list((network.home / "node.key.state").rglob("*.report")))
    assert not network.failures()


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
