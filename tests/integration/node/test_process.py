"""A node's process from its start to its end: drains, takes over, and loses no Report on the way."""

from __future__ import annotations

import json
import signal

import pytest

from coordinator.protocol import signing
from coordinator.protocol.hashing import receipt_digest, salted_hash, unhex
from coordinator.protocol.report import FailureCode
from coordinator.protocol.session import REPORT_PATH
from tests.fakes.coordinator_http import CHAIN_ID, TASK_REGISTRY, until
from tests.integration.node.processes import Network


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
