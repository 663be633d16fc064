"""Fakes of the ports that the API and the runner of direct tasks stand on: tasks, keys, upstreams, in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from coordinator.errors import (
    CredentialNotPermitted,
    InvalidApiKey,
    RelayError,
    ScopeDenied,
    TaskCanceled,
    TaskExpired,
    TaskNotFound,
)
from coordinator.lifecycle.caller import Admitted, Allowance, Caller, Credential
from coordinator.lifecycle.idempotency import Ask, Turn, What
from coordinator.lifecycle.order import Claim, Mode, Order
from coordinator.lifecycle.task import TaskPage, TaskState, TaskView
from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.ids import TaskId, new_task_id
from tests.fakes.upstream import ANSWER

ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"
GOOD_KEY = "relay_sk_good"
KEY_ID = "key_0000000000000001"


class FakeRelay:
    """Tasks in a dict. `end` finishes one; with `at_once` set, a submitted task has ended so before anybody looks."""

    def __init__(self, at_once: bytes | RelayError | None = None) -> None:
        self.tasks: dict[TaskId, TaskView] = {}
        self.orders: list[Order] = []
        self.kept: list[tuple[TaskId, Order, bytes | RelayError]] = []
        self.expired: set[TaskId] = set()
        self.owners: dict[TaskId, str] = {}
        self.listings: list[tuple[str, TaskId | None, int]] = []
        self.failing: RelayError | None = None
        self.live: set[str] = set()
        self.is_ready = True
        self.at_once = at_once
        self.waited: list[timedelta] = []
        self.patience: timedelta | None = None  # waits no longer than this, whatever it is asked for
        self._changed = asyncio.Condition()

    async def submit(self, order: Order, task_id: TaskId | None = None) -> TaskView:
        self._raise()
        self.orders.append(order)
        now = datetime.now(UTC)
        address = ADDRESS if order.mode == "opengpu" else None
        view = TaskView(
            task_id or new_task_id(order.mode), TaskState.WAITING, order.mode, order.model, now, now, None, address
        )
        self.tasks[view.task_id] = view
        if self.at_once is not None:
            await self.end(view.task_id, self.at_once)
        return view

    async def end(self, task_id: TaskId, outcome: bytes | RelayError) -> None:
        now = datetime.now(UTC)
        view = replace(self.tasks[task_id], ended_at=now, now=now)
        if isinstance(outcome, bytes):
            view = replace(view, state=TaskState.COMPLETED, answer=outcome)
        else:
            told = {"error_code": outcome.code, "error_message": outcome.message, "error_status": outcome.status}
            view = replace(view, state=TaskState.FAILED, **told)
        async with self._changed:
            self.tasks[task_id] = view
            self._changed.notify_all()

    async def read(self, task_id: TaskId) -> TaskView:
        self._raise()
        if task_id in self.expired:
            raise TaskExpired("The task has expired.")
        if task_id not in self.tasks:
            raise TaskNotFound("No task has this id.")
        return self.tasks[task_id]

    async def listed(self, caller: str, after: TaskId | None, limit: int) -> TaskPage:
        self._raise()
        self.listings.append((caller, after, limit))
        return TaskPage(list(self.tasks.values())[:limit], None)

    async def cancel(self, task_id: TaskId, caller: str) -> TaskView:
        view = await self.read(task_id)
        if self.owners.get(task_id, caller) != caller:
            raise CredentialNotPermitted("The task belongs to a key.")
        if not view.terminal:
            await self.end(task_id, TaskCanceled("The task was cancelled."))
        return self.tasks[task_id]

    async def wait(self, task_id: TaskId, timeout: timedelta) -> TaskView:
        await self.read(task_id)
        self.waited.append(timeout)
        try:
            async with asyncio.timeout((self.patience or timeout).total_seconds()), self._changed:
                await self._changed.wait_for(lambda: self.tasks[task_id].terminal)
        except TimeoutError:
            pass
        return await self.read(task_id)

    async def proof(self, task_id: TaskId) -> dict[str, Any]:
        view = await self.read(task_id)
        return {"task_id": task_id, "status": view.status, "salt": "0x" + "00" * 32}

    async def keep(self, task_id: TaskId, order: Order, started_at: datetime, outcome: bytes | RelayError) -> None:
        self._raise()
        self.kept.append((task_id, order, outcome))
        self.tasks[task_id] = TaskView(task_id, TaskState.RUNNING, order.mode, order.model, started_at, started_at)
        await self.end(task_id, outcome)

    async def opengpu_models(self) -> set[str]:
        return self.live

    async def ready(self) -> bool:
        return self.is_ready

    def _raise(self) -> None:
        if self.failing is not None:
            raise self.failing


class FakeClaims:
    """Says what the test puts into `turns`, else that every key is fresh."""

    def __init__(self) -> None:
        self.turns: list[tuple[What, TaskId]] = []
        self.asked: list[tuple[Ask, TaskId | None]] = []
        self.settled: list[Claim] = []
        self.released: list[Claim] = []
        self.ending = asyncio.Event()

    async def claim(self, ask: Ask, joined: TaskId | None = None) -> Turn:
        self.asked.append((ask, joined))
        what, task_id = self.turns.pop(0) if self.turns else ("fresh", ask.task_id)
        return Turn(what, task_id, Claim("relay:idem:fake", ask.token))

    def settle(self, claim: Claim) -> None:
        self.settled.append(claim)

    async def release(self, claim: Claim) -> None:
        self.released.append(claim)

    async def ended(self, task_id: TaskId, timeout: timedelta) -> None:
        await self.ending.wait()


class FakeKeyBook:
    """One good key, and guests. `refusal` is raised for the next request that is let in."""

    def __init__(self) -> None:
        self.refusal: RelayError | None = None
        self.refused_at: list[float] = []  # time.monotonic
        self.denied: set[str] = set()  # scopes
        self.calls_ended = 0

    async def identify(self, credential: Credential) -> Caller:
        if credential.api_key is None:
            return Caller(f"guest:{credential.address}")
        if credential.api_key != GOOD_KEY:
            raise InvalidApiKey("The API key is not known here.")
        return Caller(KEY_ID, "pro", KEY_ID, "default", concurrent=100)

    def ended(self, caller_id: str, call: str) -> None:
        self.calls_ended += 1

    async def admit(self, credential: Credential, choices: Mapping[Mode, str], call: str = "") -> Admitted:
        caller = await self.identify(credential)
        if self.refusal is not None:
            self.refused_at.append(time.monotonic())
            raise self.refusal
        for mode, scope in choices.items():
            if scope not in self.denied:
                return Admitted(caller, mode, Allowance(60, 59, timedelta(seconds=1)))
        raise ScopeDenied("The API key is restricted to other models.")


class FakeFrames:
    """Frames of a stream, each after what `between` waits for."""

    def __init__(self, frames: list[bytes], between: Callable[[], Awaitable[Any]] | None = None) -> None:
        self._frames, self._between = iter(frames), between
        self.closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._between is not None:
            await self._between()
        try:
            return next(self._frames)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self.closed = True


class FakeUpstreams:
    """Answers with `outcome`, once `gate` is open; remembers what it was asked, and by whom it was left alone."""

    def __init__(self, outcome: bytes | RelayError = ANSWER, frames: FakeFrames | None = None) -> None:
        self.outcome, self.frames = outcome, frames
        self.calls: list[tuple[str, bytes]] = []
        self.paths: list[Endpoint] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.called = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def complete(self, model: str, request: bytes, path: Endpoint = "chat/completions") -> bytes:
        self.calls.append((model, request))
        self.paths.append(path)
        self.called.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if isinstance(self.outcome, RelayError):
            raise self.outcome
        return self.outcome

    async def stream(self, model: str, request: bytes, path: Endpoint = "chat/completions") -> FakeFrames:
        await self.complete(model, request, path)
        assert self.frames is not None
        return self.frames


@dataclass(frozen=True, slots=True)
class FakeClaim:
    task_id: TaskId
    attempt: int
    model: str
    request: bytes
    endpoint: Endpoint = "chat/completions"


class FakeDirectLine:
    """A line in memory. `finished` holds what was handed in."""

    def __init__(self) -> None:
        self.waiting: list[FakeClaim] = []
        self.finished: dict[TaskId, bytes | RelayError] = {}
        self.renewed: list[list[FakeClaim]] = []
        self.gone: set[TaskId] = set()  # cancelled
        self.failing: RelayError | None = None
        self.changed = asyncio.Condition()

    async def add(self, model: str = "m") -> FakeClaim:
        claim = FakeClaim(new_task_id("direct"), 1, model, b"{}")
        async with self.changed:
            self.waiting.append(claim)
            self.changed.notify_all()
        return claim

    async def claim(self) -> FakeClaim | None:
        self._raise()
        return self.waiting.pop(0) if self.waiting else None

    async def renew(self, claims: Sequence[FakeClaim]) -> Sequence[FakeClaim]:
        self._raise()
        async with self.changed:
            self.renewed.append(list(claims))
            self.changed.notify_all()
        return [claim for claim in claims if claim.task_id in self.gone]

    async def finish(self, claim: FakeClaim, outcome: bytes | RelayError) -> None:
        self._raise()
        async with self.changed:
            self.finished[claim.task_id] = outcome
            self.changed.notify_all()

    async def wakeup(self, timeout: timedelta) -> None:
        try:
            async with asyncio.timeout(timeout.total_seconds()), self.changed:
                await self.changed.wait_for(lambda: bool(self.waiting))
        except TimeoutError:
            pass

    def _raise(self) -> None:
        if self.failing is not None:
            raise self.failing
