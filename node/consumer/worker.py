"""One Celery worker in one daemon thread, for one broker credential.

It is Celery's WorkController, not its command line: no signal handlers, no logging set-up, no banner. Its pool is
`solo`, because the task only hands the Envelope over. It retries nothing: when it ends, it says why.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import bootsteps
from celery.worker import WorkController
from kombu.asynchronous import set_event_loop
from kombu.transport import redis as redis_transport

from coordinator.protocol.session import BrokerCredential
from node.consumer.app import PATIENT, Patience, celery_app

# Starting one is quick, but two at once would share kombu's one global event loop.
_STARTING = threading.Lock()
_SIGN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a worker ended. `refused`: the broker doesn't take the credential (any more). `reason` holds no secret."""

    refused: bool
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerEvents:
    """What a worker tells the event loop that owns it; all are called in that loop's thread."""

    envelope: Callable[[Any], None]
    beat: Callable[[], None]
    ready: Callable[[], None]
    ended: Callable[[Ending], None]


class CeleryWorker:
    """Consumes from construction on until `stop`, or until the broker gives trouble."""

    def __init__(
        self,
        credential: BrokerCredential,
        events: WorkerEvents,
        loop: asyncio.AbstractEventLoop,
        patience: Patience = PATIENT,
        ca_file: Path | None = None,
    ) -> None:
        self._loop = loop
        self._events = events
        self._controller: WorkController | None = None
        self._stopping = False
        self._last_sign = time.monotonic()
        self._app = celery_app(
            credential,
            lambda envelope: self._tell(events.envelope, envelope),
            lambda: self._tell(events.beat),
            patience,
            ca_file,
        )
        self._thread = threading.Thread(target=self._run, name="celery", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns at once; the thread ends within about a second, the time a blocking pop takes to return."""
        self._stopping = True
        if self._controller is not None:
            self._controller.consumer.blueprint.state = bootsteps.CLOSE

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def silent_for(self) -> float:
        """Seconds since the thread was last seen to go round; connecting keeps it silent too."""
        return time.monotonic() - self._last_sign

    def between_messages(self, call: Callable[[], object]) -> None:
        """Has the worker's thread call it once, the next time it goes round; it should not take long."""
        if self._controller is not None:
            self._controller.hub.call_soon(call)

    def _sign(self) -> None:
        self._last_sign = time.monotonic()

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed: the process is about to end
            self.stop()

    def _run(self) -> None:
        # Celery looks the task up in the current application, which is the thread's.
        self._app.set_current()
        ending = Ending(refused=False, reason="stopped")
        try:
            self._consume()
        except BaseException as error:
            ending = _ending(error)
        finally:
            self._app.close()
            self._tell(self._events.ended, ending)

    def _consume(self) -> None:
        with _STARTING:
            set_event_loop(None)
            controller = self._controller = self._new_controller()
        if self._stopping:
            return
        try:
            # WorkController.start() would swallow the reason of the end.
            controller.blueprint.start(controller)
        finally:
            controller.stop()

    def _new_controller(self) -> WorkController:
        return WorkController(
            app=self._app,
            pool_cls="solo",
            concurrency=1,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            ready_callback=lambda _: self._ready(),
        )

    def _ready(self) -> None:
        if self._controller is not None:
            self._sign()
            self._controller.hub.call_repeatedly(_SIGN_SECONDS, self._sign)
            if self._stopping:
                self._controller.consumer.blueprint.state = bootsteps.CLOSE
        self._tell(self._events.ready)


def _ending(error: BaseException) -> Ending:
    """Celery ends with WorkerShutdown, a SystemExit, raised from what went wrong."""
    cause = error.__cause__ if isinstance(error, SystemExit) and error.__cause__ is not None else error
    refused = isinstance(
        cause, (redis_transport.exceptions.AuthenticationError, redis_transport.exceptions.NoPermissionError)
    )
    return Ending(refused, type(cause).__name__)
