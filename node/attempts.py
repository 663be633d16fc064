"""Every attempt the node holds, from its Envelope to the coordinator's word on its Report.

    waiting ──► running ──► reporting ──► settled
       └──────────┴────────────┴──► dropped (cancelled by the coordinator)

The coordinator never gives more than the node has slots; what comes all the same waits in order.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

import structlog
from pydantic import ValidationError

from coordinator.protocol.envelope import Envelope
from coordinator.protocol.hashing import salted_hash, unhex
from coordinator.protocol.ids import AttemptId, split_attempt_id
from coordinator.protocol.report import Failure, FailureCode, Report
from node.answering import Answering
from node.log import shown

log = structlog.get_logger()

# Envelopes of attempts reported so long ago don't come back.
_REMEMBERED = 10_000


class Reports(Protocol):
    """Where finished attempts go; holds each until the coordinator has taken or refused it."""

    def submit(self, report: Report) -> None: ...
    def drop(self, attempt: AttemptId) -> None: ...
    def holds(self, attempt: AttemptId) -> bool: ...
    def unsettled(self) -> tuple[AttemptId, ...]: ...


# The second argument is called when the backend's first token has come.
Perform = Callable[[Envelope, Callable[[], None]], Awaitable[Report]]


class Attempts:
    """All of it runs in the event loop's thread. `beat` asks for a heartbeat out of turn."""

    def __init__(self, slots: int, perform: Perform, reports: Reports, beat: Callable[[], None]) -> None:
        self._slots = slots
        self._perform = perform
        self._reports = reports
        self._answering = Answering(beat)
        self._waiting: deque[Envelope] = deque()
        self._running: dict[AttemptId, asyncio.Task[None]] = {}
        self._ended: OrderedDict[AttemptId, None] = OrderedDict()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def deliver(self, message: Any) -> None:
        """Takes what came out of the queue; drops what is no Envelope, broken, or known already."""
        try:
            envelope = Envelope.model_validate(message)
        except ValidationError as error:
            log.warning("dropped a message that is no Envelope", problems=error.error_count())
            return
        if not _genuine(envelope):
            # Forged or broken: no Report, since nothing about it can be trusted. Its lease brings a real one back.
            log.warning("dropped an Envelope whose hash does not fit", attempt=shown(envelope.attempt_id))
        elif self.knows(envelope.attempt_id):
            log.info("dropped a repeated Envelope", attempt=shown(envelope.attempt_id))
        else:
            self._take(envelope)

    def held(self) -> tuple[AttemptId, ...]:
        """Taken and not yet settled: what the heartbeats list, and what keeps its lease."""
        waiting = (envelope.attempt_id for envelope in self._waiting)
        return tuple(dict.fromkeys((*self._running, *waiting, *self._reports.unsettled())))

    def answering(self) -> tuple[AttemptId, ...]:
        """Of those that are held, whose first token has come."""
        return self._answering.begun(self.held())

    def knows(self, attempt: AttemptId) -> bool:
        if attempt in self._ended or attempt in self._running or self._reports.holds(attempt):
            return True
        return any(envelope.attempt_id == attempt for envelope in self._waiting)

    def cancel(self, attempts: Iterable[AttemptId]) -> None:
        """Stops attempts that are no longer this node's, and drops their Reports."""
        held = frozenset(self.held())
        for attempt in attempts:
            if attempt not in held:
                continue  # settled while the heartbeat was under way
            self._remember(attempt)
            self._waiting = deque(envelope for envelope in self._waiting if envelope.attempt_id != attempt)
            if attempt in self._running:
                self._running[attempt].cancel()
            self._reports.drop(attempt)
            log.info("an attempt is no longer this node's", attempt=shown(attempt))

    def hand_back(self, attempt: AttemptId, why: str) -> None:
        """Gives an attempt up that has not begun here, so that another node gets it at once."""
        task_id, number = split_attempt_id(attempt)
        failure = Failure(code=FailureCode.HANDED_BACK, message=why)
        self._remember(attempt)
        self._reports.submit(Report(task_id=task_id, attempt=number, failure=failure))

    async def drain(self, limit: timedelta) -> None:
        """Hands back what has not begun, and waits for the rest; after `limit` it stops it, without a Report."""
        self._draining = True
        while self._waiting:
            self.hand_back(self._waiting.popleft().attempt_id, "the node is shutting down")
        try:
            async with asyncio.timeout(limit.total_seconds()):
                await self._idle.wait()
        except TimeoutError:
            log.warning("stopped attempts that were still running", count=len(self._running))
            await self.abandon()

    async def give_up(self, why: str) -> None:
        """Stops everything and hands it back: whoever has this node's key now doesn't hold it, so nobody renews it."""
        held = (*self._running, *(envelope.attempt_id for envelope in self._waiting))
        self._waiting.clear()
        await self.abandon()
        for attempt in held:
            if attempt not in self._ended:
                self.hand_back(attempt, why)

    async def abandon(self) -> None:
        """Stops everything that runs, without a Report."""
        self._draining = True
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _take(self, envelope: Envelope) -> None:
        if self._draining:
            self.hand_back(envelope.attempt_id, "the node is shutting down")
            return
        self._waiting.append(envelope)
        self._fill_slots()

    def _fill_slots(self) -> None:
        while self._waiting and len(self._running) < self._slots:
            envelope = self._waiting.popleft()
            self._idle.clear()
            task = asyncio.get_running_loop().create_task(self._run(envelope))
            self._running[envelope.attempt_id] = task
            task.add_done_callback(partial(self._on_done, envelope.attempt_id))

    async def _run(self, envelope: Envelope) -> None:
        try:
            report = await self._perform(envelope, partial(self._answering.heard, envelope.attempt_id))
        except Exception as error:
            # A bug of the node's own: never silent, never the client's fault. The text of the error may hold a prompt.
            where = traceback.format_tb(error.__traceback__)
            log.error(
                "the node failed an attempt", attempt=shown(envelope.attempt_id), error=type(error).__name__, at=where
            )
            failure = Failure(code=FailureCode.BACKEND_ERROR, message="the node failed")
            report = Report(task_id=envelope.task_id, attempt=envelope.attempt, failure=failure)
        if report.answer is not None:
            self._answering.answered(envelope.attempt_id)
        else:
            self._answering.forget(envelope.attempt_id)
        self._remember(envelope.attempt_id)
        self._reports.submit(report)

    def _on_done(self, attempt: AttemptId, task: asyncio.Task[None]) -> None:
        del self._running[attempt]
        if task.cancelled():
            self._answering.forget(attempt)
        self._fill_slots()
        if not self._running:
            self._idle.set()

    def _remember(self, attempt: AttemptId) -> None:
        self._ended[attempt] = None
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)


def _genuine(envelope: Envelope) -> bool:
    try:
        request = envelope.request.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return salted_hash(unhex(envelope.salt), request) == envelope.request_hash
