"""Streams in the life of a node: hundreds at once in one real process, and the shipped model's, on real llama.cpp."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.streaming import streams
from node.inference.backend import BackendAddress, HttpBackend, backend_session
from node.inference.embedded import EmbeddedServer
from tests.fakes.backend import chunks, sse
from tests.fakes.coordinator_http import until
from tests.integration.node.processes import Network

MANY = 300
WORDS = [f"word {number} " for number in range(200)]


@pytest.fixture
def heartbeat_ms() -> int:
    return 1000


async def test_hundreds_of_slow_streams_in_one_process(network: Network) -> None:
    """Each begins, and waits. The coordinator hears of all of them in few heartbeats; what it cancels ends at once."""
    frames, gate = chunks(*WORDS), asyncio.Event()
    for _ in range(MANY):
        network.backend.stream(sse(frames[:100], done=False), gate, sse(frames[100:]))
    node = await network.start(NODE_SLOTS=str(MANY))
    beats, began, memory = len(network.coordinator.beats), time.monotonic(), _resident_mib(node.process.pid)
    given = network.put(MANY)
    names = {one.attempt_id for one in given}
    await until(lambda: set(network.coordinator.beats[-1].answering) == names)
    took = time.monotonic() - began
    assert len(network.coordinator.beats) - beats <= 4 * took + took + 2
    assert _resident_mib(node.process.pid) - memory < 60

    network.coordinator.cancelled = [one.attempt_id for one in given[:100]]
    await until(lambda: network.backend.broken_off == 100)
    network.coordinator.cancelled = []
    gate.set()
    await until(lambda: len(network.answers()) == MANY - 100)
    assert {json.loads(one.answer or "")["choices"][0]["message"]["content"] for one in network.answers().values()} == {
        "".join(WORDS)
    }
    await until(lambda: network.coordinator.beats[-1].running == ())


async def test_a_stream_that_falls_silent_is_given_up_after_the_providers_own_limit(network: Network) -> None:
    network.backend.stream(sse(chunks("a")[:2], done=False), hang=True)
    node = await network.start(NODE_SILENCE_SECONDS="0.1")
    network.put(1)
    await until(lambda: network.failures())
    assert list(network.failures().values()) == ["BACKEND_TIMEOUT"]
    assert node.process.poll() is None


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer("relay/tiny-chat", slots=2) as running:
        yield running


def chat(*messages: str, **fields: Any) -> tuple[Endpoint, dict[str, Any]]:
    turns = [
        {"role": role, "content": text} for role, text in zip(("user", "assistant", "user"), messages, strict=False)
    ]
    return "chat/completions", {"model": "relay/tiny-chat", "messages": turns, "temperature": 0, "seed": 1, **fields}


def text(prompt: Any, **fields: Any) -> tuple[Endpoint, dict[str, Any]]:
    return "completions", {"model": "relay/tiny-chat", "prompt": prompt, "temperature": 0, "max_tokens": 20, **fields}


SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ['é😀\n"ü"']}}}


@pytest.mark.parametrize(
    ("endpoint", "request_"),
    [
        chat("What is 7 + 5?"),
        chat("What is a lease?", max_tokens=5),
        chat("Hello!", "Hello! Ask me about the relay.", "What is a task?"),
        chat("What is 7 + 5?", stop=["12"]),
        chat("What is 7 + 5?", stop=["+ 5 = 99"]),
        chat("Say it.", response_format=SCHEMA),
        chat("What is a node?", temperature=0.8, seed=7),
        text("What is 7 + 5?"),
        text([5, 6, 7]),
        text("What is 7 + 5?", stop=[" "]),
    ],
)
async def test_the_same_answer_streamed_or_not(
    server: EmbeddedServer, endpoint: Endpoint, request_: dict[str, Any]
) -> None:
    """Field by field, but for what is another's with each call: its id, its time, and how fast it was."""
    assert streams(request_, endpoint)
    async with backend_session(2) as session:
        backend, body = HttpBackend(session, BackendAddress(server.url)), json.dumps(request_).encode()
        heard: list[float] = []
        limit = timedelta(seconds=30)
        whole = json.loads(await backend.complete(body, limit, endpoint))
        streamed = json.loads(await backend.complete(body, limit, endpoint, lambda: heard.append(1)))
    assert set(whole) == set(streamed)
    assert _lasting(whole) == _lasting(streamed)
    assert set(whole["timings"]) == set(streamed["timings"])
    assert len(heard) == (1 if _said(whole) else 0)


def _lasting(answer: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in answer.items() if name not in ("id", "created", "timings")}
    return kept | {"usage": {name: kept["usage"][name] for name in kept["usage"] if name != "prompt_tokens_details"}}


def _said(answer: dict[str, Any]) -> str:
    choice = answer["choices"][0]
    return str(choice["text"] if "text" in choice else choice["message"]["content"])


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
