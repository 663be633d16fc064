"""Keeps one consumer alive on the credential of the current session, and notices when it is stuck or deaf.

Stuck means: its thread has not gone round for longer than any wait for the broker takes. Another one takes its place.

Deaf means: the coordinator's heartbeats name attempts that this node was given and never saw, and nothing else comes
either. The cure is a new session, which brings a new credential and a new worker; nothing in flight is disturbed by it.
An attempt that stays missing after that, or while others arrive, has lost its Envelope: it is handed back rather than
left to its lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from coordinator.protocol.ids import AttemptId
from coordinator.protocol.session import BrokerCredential
from node.consumer.worker import Ending, WorkerEvents

log = structlog.get_logger()

# An Envelope is on its way for a moment; missed in three heartbeats running (6 s of a 10 s lease) it is lost.
_HEARTBEATS_UNTIL_MISSED = 3
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 2.0
# A worker that consumed this long was a good one: the next trouble is a new trouble.
_GOOD_LIFE_SECONDS = 5.0
# Connecting to a broker that hangs takes a thread up to 15 s (node.consumer.app), and then ends it.
_STUCK_SECONDS = 20.0
_LOOK_SECONDS = 1.0


class Worker(Protocol):
    @property
    def silent_for(self) -> float: ...
    def stop(self) -> None: ...


@dataclass(slots=True)
class _Missing:
    """`beats`: heartbeats that named it in a row. `since`: Envelopes taken before the first of them."""

    since: int
    beats: int = 0
    cured: bool = False


StartWorker = Callable[[BrokerCredential, WorkerEvents], Worker]


class Supervisor:
    """`deliver` takes what came out of the queue; `renew` asks for a new session; `hand_back` gives an attempt up;
    `beat` asks for a heartbeat, because the coordinator does. `stuck_after`: seconds of a thread's silence.
    """

    def __init__(
        self,
        start_worker: StartWorker,
        deliver: Callable[[Any], None],
        renew: Callable[[str], None],
        hand_back: Callable[[AttemptId], None],
        beat: Callable[[], None],
        stuck_after: float = _STUCK_SECONDS,
    ) -> None:
        self._start_worker = start_worker
        self._deliver = deliver
        self._renew = renew
        self._hand_back = hand_back
        self._beat = beat
        self._stuck_after = stuck_after
        self._worker: Worker | None = None
        self._generation = 0
        self._pause = 0.0
        self._ready_at: float | None = None
        self._next_try: asyncio.TimerHandle | None = None
        self._next_look: asyncio.TimerHandle | None = None
        self._taken = 0
        self._missing: dict[AttemptId, _Missing] = {}
        self.ready = asyncio.Event()

    def serve(self, credential: BrokerCredential) -> None:
        """Consumes with `credential` from now on, instead of any earlier one."""
        self.stop()
        self._start(credential)

    def stop(self) -> None:
        """Ends the consumer and all restarting."""
        self._generation += 1
        self.ready.clear()
        for timer in (self._next_try, self._next_look):
            if timer is not None:
                timer.cancel()
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def note_missing(self, missing: Iterable[AttemptId]) -> None:
        """Takes the `expected` of one heartbeat reply, less what has arrived since."""
        self._missing = {attempt: self._missing.get(attempt, _Missing(self._taken)) for attempt in missing}
        overdue = []
        for attempt, entry in self._missing.items():
            entry.beats += 1
            if entry.beats >= _HEARTBEATS_UNTIL_MISSED:
                overdue.append(attempt)
        lost = [attempt for attempt in overdue if self._is_lost(self._missing[attempt])]
        for attempt in lost:
            del self._missing[attempt]
            self._hand_back(attempt)
        if len(lost) < len(overdue):
            for entry in self._missing.values():
                entry.beats, entry.cured = 0, True
            self._renew("attempts were assigned but never arrived")

    def _is_lost(self, entry: _Missing) -> bool:
        """The queue keeps its order: what was not there when a later one came will not come."""
        return entry.cured or self._taken > entry.since

    def _start(self, credential: BrokerCredential) -> None:
        generation = self._generation
        events = WorkerEvents(
            envelope=self._take,
            beat=self._beat,
            ready=lambda: self._on_ready(generation),
            ended=lambda ending: self._on_ended(generation, credential, ending),
        )
        self._worker = self._start_worker(credential, events)
        self._look(credential)

    def _look(self, credential: BrokerCredential) -> None:
        """Whether the worker's thread still goes round, from now on."""
        if self._next_look is not None:
            self._next_look.cancel()
        if self._worker is not None and self._worker.silent_for > self._stuck_after:
            log.warning("the consumer is stuck: another one takes its place")
            self.serve(credential)
        elif self._worker is not None:
            pause = min(_LOOK_SECONDS, self._stuck_after / 4)
            self._next_look = asyncio.get_running_loop().call_later(pause, self._look, credential)

    def _take(self, message: Any) -> None:
        self._taken += 1
        self._deliver(message)

    def _on_ready(self, generation: int) -> None:
        if generation != self._generation:
            return
        if self._pause:
            log.info("consuming again")
        self._ready_at = asyncio.get_running_loop().time()
        self.ready.set()

    def _on_ended(self, generation: int, credential: BrokerCredential, ending: Ending) -> None:
        if generation != self._generation:
            return
        loop = asyncio.get_running_loop()
        if self._ready_at is not None and loop.time() - self._ready_at > _GOOD_LIFE_SECONDS:
            self._pause = 0.0
        if self.ready.is_set() or ending.refused:
            log.warning("the broker is lost", reason=ending.reason, refused=ending.refused)
        elif not self._pause:
            log.warning("the broker can't be reached, trying on", reason=ending.reason, remedy="python -m node check")
        self._worker, self._ready_at = None, None
        self.ready.clear()
        # What refused a credential once will not take it later: Redis came back without its users.
        if ending.refused:
            self._next_try = loop.call_later(self._pause, self._renew, "the broker refuses the credential")
        else:
            self._next_try = loop.call_later(self._pause, self._start, credential)
        self._pause = min(max(self._pause * 2, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
