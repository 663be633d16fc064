"""Signing in, heartbeats, taking over, leaving: over real HTTP, against a coordinator that says what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from eth_keys.datatypes import PrivateKey

from coordinator.protocol.ids import AttemptId
from coordinator.protocol.session import (
    CHALLENGE_PATH,
    HEARTBEAT_PATH,
    SESSION_PATH,
    Hardware,
    HeartbeatReply,
    SessionGrant,
)
from node import log
from node.identity import Identity
from node.presence.hardware import hardware
from node.presence.line import SignedLine, line_transport
from node.presence.presence import Offer, Presence, Superseded
from tests.fakes.coordinator_http import CoordinatorHttp, until

IDENTITY = Identity.of(PrivateKey(b"\x11" * 32))


class Heard:
    def __init__(self) -> None:
        self.holds: list[AttemptId] = []
        self.begun: list[AttemptId] = []
        self.grants: list[SessionGrant] = []
        self.replies: list[HeartbeatReply] = []

    def held(self) -> tuple[AttemptId, ...]:
        return tuple(self.holds)

    def answering(self) -> tuple[AttemptId, ...]:
        return tuple(self.begun)

    def granted(self, grant: SessionGrant) -> None:
        self.grants.append(grant)

    def heard(self, reply: HeartbeatReply) -> None:
        self.replies.append(reply)


class Node:
    def __init__(self, url: str) -> None:
        self.line = SignedLine(url, IDENTITY, line_transport(4))
        self.heard = Heard()
        offer = Offer(IDENTITY.address, ("a", "b"), 3, "0.1", Hardware(cpu_count=2))
        self.presence = Presence(self.line, offer, self.heard)
        self.task = asyncio.create_task(self.presence.run())

    async def end(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Superseded):
            await self.task
        await self.line.close()


@pytest.fixture
async def coordinator() -> AsyncIterator[CoordinatorHttp]:
    async with CoordinatorHttp(heartbeat_ms=20) as server:
        yield server


@pytest.fixture
async def node(coordinator: CoordinatorHttp) -> AsyncIterator[Node]:
    running = Node(coordinator.url)
    yield running
    await running.end()


@pytest.fixture
def logged() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    import logging

    stream = io.StringIO()
    before = logging.getLogger().handlers[:]
    log.configure("info", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.getLogger().handlers[:] = before


async def test_signs_in_and_beats_at_once_and_then_steadily(coordinator: CoordinatorHttp, node: Node) -> None:
    await until(lambda: len(coordinator.beats) >= 3)
    assert len(coordinator.sessions) == 1
    asked = coordinator.sessions[0]
    assert (asked.node, asked.models, asked.slots, asked.version) == (IDENTITY.address, ("a", "b"), 3, "0.1")
    assert [grant.session for grant in node.heard.grants] == [coordinator.session]
    assert node.presence.grant == node.heard.grants[0]
    assert not coordinator.wrong


async def test_lists_what_it_holds_and_hears_what_is_cancelled_and_expected(
    coordinator: CoordinatorHttp, node: Node
) -> None:
    node.heard.holds = [AttemptId("opengpu:x#1"), AttemptId("opengpu:z#1")]
    node.heard.begun = [AttemptId("opengpu:x#1")]
    coordinator.expected, coordinator.cancelled = ["opengpu:y#1"], ["opengpu:x#1"]
    await until(lambda: any(beat.running == ("opengpu:x#1", "opengpu:z#1") for beat in coordinator.beats))
    assert any(beat.answering == ("opengpu:x#1",) for beat in coordinator.beats)
    wanted = HeartbeatReply(expected=("opengpu:y#1",), cancelled=("opengpu:x#1",))
    await until(lambda: wanted in node.heard.replies)


async def test_a_session_that_ended_is_replaced(coordinator: CoordinatorHttp, node: Node) -> None:
    await until(lambda: coordinator.beats)
    coordinator.end_session()
    await until(lambda: len(node.heard.grants) == 2)
    await until(lambda: coordinator.beats[-1].session == node.heard.grants[1].session)


async def test_renewing_brings_a_new_session_at_once(coordinator: CoordinatorHttp, node: Node) -> None:
    coordinator.heartbeat_ms = 60_000
    await until(lambda: coordinator.beats)
    node.presence.renew("the broker refuses the credential")
    node.presence.renew("and again")
    await until(lambda: len(node.heard.grants) == 2)


async def test_a_session_is_renewed_before_it_runs_out_and_again() -> None:
    async with CoordinatorHttp(heartbeat_ms=20, expires_ms=100) as coordinator:
        node = Node(coordinator.url)
        await until(lambda: len(node.heard.grants) >= 5)
        sessions = [grant.session for grant in node.heard.grants]
        assert [asked.previous for asked in coordinator.sessions[:5]] == [None, *sessions[:4]]
        # each was used until the next one was there
        assert list(dict.fromkeys(beat.session for beat in coordinator.beats))[:4] == sessions[:4]
        assert not node.task.done()
        await node.end()


async def test_a_renewal_that_fails_is_tried_again_and_heartbeats_go_on_meanwhile(
    coordinator: CoordinatorHttp, node: Node, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    await until(lambda: coordinator.beats)
    coordinator.refuse(SESSION_PATH, 503, "STORE_UNAVAILABLE", times=3)
    beats = len(coordinator.beats)
    node.presence.renew("the broker refuses the credential")
    await until(lambda: len(node.heard.grants) == 2)
    old = [beat for beat in coordinator.beats[beats:] if beat.session == node.heard.grants[0].session]
    assert len(old) >= 5
    assert len([line for line in logged() if "not renewed yet" in line["event"]]) == 1


async def test_whoever_was_taken_over_from_ends_when_it_renews(coordinator: CoordinatorHttp, node: Node) -> None:
    coordinator.heartbeat_ms = 60_000
    await until(lambda: coordinator.beats)
    coordinator.session = "ab" * 16
    node.presence.renew("the broker refuses the credential")
    with pytest.raises(Superseded):
        await asyncio.wait_for(node.task, 5)


async def test_another_process_with_the_same_key_takes_over(coordinator: CoordinatorHttp, node: Node) -> None:
    await until(lambda: coordinator.beats)
    coordinator.refuse(HEARTBEAT_PATH, 409, "SESSION_SUPERSEDED")
    with pytest.raises(Superseded):
        await asyncio.wait_for(node.task, 5)


async def test_a_coordinator_that_goes_and_comes_back_keeps_the_session(
    coordinator: CoordinatorHttp, node: Node, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    await until(lambda: coordinator.beats)
    await coordinator.stop()
    await until(lambda: any(line["level"] == "warning" for line in logged()))
    await asyncio.sleep(0.2)
    beats = len(coordinator.beats)
    await coordinator.start()
    await until(lambda: len(coordinator.beats) > beats)
    assert len(coordinator.sessions) == 1
    # one line a change of state, however often it was tried
    await until(lambda: [line["event"] for line in logged() if "again" in line["event"]])
    assert len([line for line in logged() if line["level"] == "warning"]) <= 2


async def test_a_coordinator_that_is_not_there_yet(logged: Callable[[], list[dict[str, Any]]]) -> None:
    async with CoordinatorHttp(heartbeat_ms=20) as coordinator:
        await coordinator.stop()
        node = Node(coordinator.url)
        await until(lambda: any("can't be reached" in str(line.get("reason")) for line in logged()))
        await coordinator.start()
        await until(lambda: coordinator.beats)
        await node.end()


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (CHALLENGE_PATH, 401, "NOT_ADMITTED"),
        (SESSION_PATH, 401, "CLOCK_OFF"),
        (SESSION_PATH, 401, "CHALLENGE_UNKNOWN"),
        (SESSION_PATH, 503, "STORE_UNAVAILABLE"),
        (HEARTBEAT_PATH, 401, "REPLAYED"),
        (HEARTBEAT_PATH, 500, ""),
    ],
)
async def test_a_refusal_is_said_once_with_the_coordinators_words_and_tried_again(
    logged: Callable[[], list[dict[str, Any]]], path: str, status: int, code: str
) -> None:
    async with CoordinatorHttp(heartbeat_ms=20) as coordinator:
        coordinator.refuse(path, status, code, times=2)
        node = Node(coordinator.url)
        await until(lambda: coordinator.beats)
        await node.end()
    warnings = [line for line in logged() if line["level"] == "warning"]
    assert len(warnings) == 1
    assert warnings[0]["reason"].startswith(code or f"HTTP {status}")


async def test_draining_is_told_at_once_and_leaving_ends_the_session(coordinator: CoordinatorHttp, node: Node) -> None:
    coordinator.heartbeat_ms = 60_000
    await until(lambda: coordinator.beats)
    node.presence.drain()
    await until(lambda: coordinator.beats[-1].draining)
    await node.presence.leave()
    assert coordinator.left == [coordinator.session]


async def test_it_beats_when_it_is_asked_to(coordinator: CoordinatorHttp, node: Node) -> None:
    coordinator.heartbeat_ms = 60_000
    await until(lambda: node.heard.replies)
    coordinator.cancelled = ["opengpu:x#1"]
    node.presence.beat()
    await until(lambda: node.heard.replies[-1].cancelled == ("opengpu:x#1",))


async def test_a_pause_is_told_at_once_and_ends(coordinator: CoordinatorHttp, node: Node) -> None:
    coordinator.heartbeat_ms = 60_000
    await until(lambda: coordinator.beats)
    node.presence.pause(True)
    await until(lambda: coordinator.beats[-1].draining)
    node.presence.pause(False)
    await until(lambda: not coordinator.beats[-1].draining)


async def test_no_heartbeat_lists_more_than_it_may(coordinator: CoordinatorHttp, node: Node) -> None:
    node.heard.holds = [AttemptId(f"opengpu:x#{number}") for number in range(5000)]
    await until(lambda: any(len(beat.running) == 4096 for beat in coordinator.beats))


async def test_leaving_without_a_session_or_a_coordinator_is_quiet(coordinator: CoordinatorHttp, node: Node) -> None:
    await until(lambda: coordinator.beats)
    await coordinator.stop()
    await node.presence.leave()


async def test_nonsense_from_the_coordinator_is_no_crash(coordinator: CoordinatorHttp, node: Node) -> None:
    await until(lambda: coordinator.beats)
    coordinator.refuse(HEARTBEAT_PATH, 200, "WHAT")
    beats = len(coordinator.beats)
    await until(lambda: len(coordinator.beats) > beats + 1)


def test_the_machine_is_described() -> None:
    assert (hardware().memory_bytes or 0) > 0
