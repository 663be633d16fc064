"""The real Celery worker on a real Redis, and what brings it back."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from coordinator.protocol.envelope import BEAT
from coordinator.protocol.ids import AttemptId
from coordinator.protocol.session import BrokerCredential
from node.consumer.app import PATIENT, Patience
from node.consumer.supervisor import Supervisor
from node.consumer.worker import CeleryWorker
from tests.fakes.coordinator_http import PATIENCE, celery_message, envelope, until
from tests.integration.node.broker import Broker
from tests.parts.wire import Wire


class Consumer:
    """A supervisor whose sessions are renewed from the broker's own desk. `through`: the address to reach it by."""

    def __init__(
        self, broker: Broker, through: str = "", patience: Patience = PATIENT, stuck_after: float = 20.0
    ) -> None:
        loop = asyncio.get_running_loop()
        self.broker = broker
        self._through = through or broker.server.address
        self.taken: list[Any] = []
        self.renewals: list[str] = []
        self.handed_back: list[AttemptId] = []
        self.workers: list[CeleryWorker] = []
        self.beats: list[bool] = []
        self.supervisor = Supervisor(
            lambda credential, events: self.keep(CeleryWorker(credential, events, loop, patience)),
            self.taken.append,
            self.renew,
            self.handed_back.append,
            lambda: self.beats.append(True),
            stuck_after,
        )

    def keep(self, worker: CeleryWorker) -> CeleryWorker:
        self.workers.append(worker)
        return worker

    def renew(self, reason: str) -> None:
        self.renewals.append(reason)
        self.supervisor.serve(self.grant())

    def grant(self) -> BrokerCredential:
        credential = self.broker.grant()
        url = credential.url.replace(self.broker.server.address, self._through)
        return credential.model_copy(update={"url": url})

    async def serve(self) -> None:
        self.supervisor.serve(self.grant())
        await asyncio.wait_for(self.supervisor.ready.wait(), PATIENCE)

    async def takes_another(self) -> None:
        given = envelope()
        self.broker.put(given)
        await until(lambda: given.model_dump() in self.taken)

    async def ends(self) -> None:
        self.supervisor.stop()
        await until(lambda: not any(worker.alive for worker in self.workers))


@pytest.fixture
async def consumer(broker: Broker) -> AsyncIterator[Consumer]:
    made = Consumer(broker)
    await made.serve()
    yield made
    await made.ends()


@pytest.mark.parametrize("base64_body", [False, True])
async def test_an_envelope_in_either_form_of_body(consumer: Consumer, broker: Broker, base64_body: bool) -> None:
    given = envelope({"model": "m", "messages": [{"role": "user", "content": 'é \\ " \n 😀'}]})
    broker.put(given, base64_body=base64_body)
    await until(lambda: consumer.taken)
    assert consumer.taken == [given.model_dump()]


async def test_it_is_asked_to_beat(consumer: Consumer, broker: Broker) -> None:
    message = json.loads(celery_message(envelope(), broker.queue))
    message["headers"]["task"] = BEAT
    message["body"] = '[[],{},{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'
    broker.put_raw(json.dumps(message))
    await until(lambda: consumer.beats)
    await consumer.takes_another()
    assert len(consumer.beats) == 1


async def test_it_touches_nothing_but_its_queue(consumer: Consumer, broker: Broker) -> None:
    for _ in range(20):
        broker.put(envelope())
    await until(lambda: len(consumer.taken) == 20)
    await asyncio.sleep(1.5)  # through an empty pop
    assert broker.denied() in (b"*0\r\n", b"")
    assert broker.key.encode() not in broker.server.command_line("KEYS", "*")


async def test_many_at_once_in_order(consumer: Consumer, broker: Broker) -> None:
    given = [envelope() for _ in range(300)]
    for one in given:
        broker.put(one)
    await until(lambda: len(consumer.taken) == 300)
    assert [taken["task_id"] for taken in consumer.taken] == [one.task_id for one in given]


def _unknown_task(message: dict[str, Any]) -> None:
    message["headers"]["task"] = "os.system"


def _no_headers(message: dict[str, Any]) -> None:
    message["headers"] = {}


def _broken_body(message: dict[str, Any]) -> None:
    message["body"] = "{"


def _pickle(message: dict[str, Any]) -> None:
    message["content-type"] = "application/x-python-serialize"


def _no_arguments(message: dict[str, Any]) -> None:
    message["body"] = "[[], {}, {}]"


def _too_many_arguments(message: dict[str, Any]) -> None:
    message["body"] = '[[1, 2, 3], {"x": 1}, {}]'


@pytest.mark.parametrize(
    "spoil", [_unknown_task, _no_headers, _broken_body, _pickle, _no_arguments, _too_many_arguments]
)
async def test_a_forged_message_is_lost_and_nothing_else(
    consumer: Consumer, broker: Broker, spoil: Callable[[dict[str, Any]], None]
) -> None:
    message = json.loads(celery_message(envelope(), broker.queue))
    spoil(message)
    broker.put_raw(json.dumps(message))
    await consumer.takes_another()
    assert len(consumer.taken) == 1


@pytest.mark.parametrize("message", ["", "no json", "[]", "{}", '{"properties": {}}'])
async def test_what_is_no_message_ends_the_worker_and_not_the_consuming(
    consumer: Consumer, broker: Broker, message: str
) -> None:
    broker.put_raw(message)
    await consumer.takes_another()
    assert not consumer.renewals


async def test_redis_killed_and_restarted_with_its_users(consumer: Consumer, broker: Broker) -> None:
    broker.save_users()
    broker.server.kill()
    await until(lambda: not consumer.supervisor.ready.is_set())
    broker.server.start()
    await consumer.takes_another()
    assert not consumer.renewals


async def test_redis_killed_and_restarted_without_its_users(consumer: Consumer, broker: Broker) -> None:
    broker.server.kill()
    broker.server.start()
    await consumer.takes_another()
    assert consumer.renewals


async def test_what_was_queued_while_redis_was_gone(consumer: Consumer, broker: Broker) -> None:
    broker.save_users()
    consumer.supervisor.stop()
    await until(lambda: not consumer.workers[-1].alive)
    given = envelope()
    broker.put(given)
    broker.server.kill()
    broker.server.start()
    await consumer.serve()
    await until(lambda: given.model_dump() in consumer.taken)


async def test_connections_cut_by_the_server(consumer: Consumer, broker: Broker) -> None:
    for _ in range(3):
        broker.cut()
        await consumer.takes_another()
    assert not consumer.renewals


async def test_redis_hangs_for_a_while(consumer: Consumer, broker: Broker) -> None:
    broker.put(waiting := envelope())
    await until(lambda: waiting.model_dump() in consumer.taken)
    broker.server.tell(signal.SIGSTOP)
    await asyncio.sleep(3)  # as long as it hangs: over several pops, each due within a second
    broker.server.tell(signal.SIGCONT)
    await consumer.takes_another()
    assert not consumer.renewals


async def test_redis_hangs_for_longer_than_the_consumer_waits(broker: Broker) -> None:
    consumer = Consumer(broker, patience=Patience(connect=0.3, answer=0.3, health_check=0.3))
    await consumer.serve()
    broker.server.tell(signal.SIGSTOP)
    await until(lambda: not consumer.supervisor.ready.is_set())
    await until(lambda: len(consumer.workers) > 3)  # it tries on
    broker.server.tell(signal.SIGCONT)
    await consumer.takes_another()
    assert not consumer.renewals
    await consumer.ends()


async def test_a_connection_that_died_without_a_word(broker: Broker) -> None:
    """As when a router forgets it: the server is well, new connections work, and nothing comes by the old one."""
    async with Wire(broker.server.redis.port) as wire:
        consumer = Consumer(broker, wire.address, Patience(health_check=0.5))
        await consumer.serve()
        await consumer.takes_another()
        wire.forget()
        broker.put(envelope())  # what Redis hands to the pop that still waits is lost: a lease's business
        await until(lambda: broker.server.command_line("EXISTS", broker.key) == b":0\r\n")
        await consumer.takes_another()
        assert not consumer.renewals
        await consumer.ends()


async def test_a_stuck_thread_is_replaced(broker: Broker) -> None:
    """The broker is well, the connection too, and the thread that should read it doesn't."""
    consumer = Consumer(broker, stuck_after=1.5)
    await consumer.serve()
    release = threading.Event()
    consumer.workers[0].between_messages(release.wait)
    # what its last pop is given meanwhile is a lease's business
    await until(lambda: len(consumer.workers) == 2)
    await consumer.takes_another()
    assert not consumer.renewals
    assert consumer.workers[0].alive
    release.set()
    await until(lambda: not consumer.workers[0].alive)
    await consumer.takes_another()
    await consumer.ends()


async def test_a_deaf_consumer_gets_a_new_session_by_the_coordinators_word(consumer: Consumer, broker: Broker) -> None:
    """It goes round and is connected, but somebody else takes what is its own; then its Envelopes are handed back."""
    stolen, later = envelope(), envelope()
    for _ in range(3):
        consumer.supervisor.note_missing([stolen.attempt_id])
    assert len(consumer.renewals) == 1
    await consumer.takes_another()
    consumer.supervisor.note_missing([stolen.attempt_id, later.attempt_id])
    broker.put(later)
    await until(lambda: later.model_dump() in consumer.taken)
    for _ in range(2):
        consumer.supervisor.note_missing([stolen.attempt_id])
    assert consumer.handed_back == [stolen.attempt_id]
    assert len(consumer.renewals) == 1


async def test_a_user_that_is_gone_means_a_new_session(consumer: Consumer, broker: Broker) -> None:
    broker.forget()
    await consumer.takes_another()
    assert len(consumer.renewals) == 1


async def test_a_user_whose_rights_are_taken_means_a_new_session(consumer: Consumer, broker: Broker) -> None:
    broker.server.command_line("ACL", "SETUSER", "node", "-brpop")
    await until(lambda: consumer.renewals)
    await consumer.takes_another()


async def test_a_new_session_in_the_middle_of_work_loses_nothing(consumer: Consumer, broker: Broker) -> None:
    """But for what is popped at the very moment its connection is cut: a lease's business."""
    given = [envelope() for _ in range(100)]
    for number, one in enumerate(given):
        broker.put(one)
        if number == 50:
            await until(lambda: len(consumer.taken) == 51)
            consumer.renew("test")
    await until(lambda: len(consumer.taken) == 100)


async def test_a_stopped_worker_ends_by_itself(consumer: Consumer) -> None:
    consumer.supervisor.stop()
    await until(lambda: not consumer.workers[-1].alive)
    assert not consumer.renewals


async def test_a_worker_stopped_before_it_began(broker: Broker) -> None:
    consumer = Consumer(broker)
    consumer.supervisor.serve(broker.grant())
    consumer.supervisor.stop()
    await until(lambda: not consumer.workers[-1].alive)
