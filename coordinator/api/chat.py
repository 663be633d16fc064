"""The calls that reach a model server: chat completions, on which the project was founded, and their kin."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope

from coordinator.api.answers import accepted_body, json_response, with_own_fields
from coordinator.api.billing import Till
from coordinator.api.body import DEFAULT_LIMIT, read_body
from coordinator.api.failures import Failure
from coordinator.api.hangup import HangUp
from coordinator.api.idempotency import Once, ask, idempotency_key
from coordinator.api.keeping import Keeper
from coordinator.api.limits import Gate
from coordinator.api.metering import Meter, MeteredStream
from coordinator.api.modes import choices
from coordinator.api.ports import Relay, Upstreams
from coordinator.api.requests import Asked, RelayRequest
from coordinator.api.streaming import QUIET, StreamedAnswer
from coordinator.api.webhooks import Hooks
from coordinator.catalogue import Catalogue
from coordinator.errors import RelayError, StoreUnavailable, UpstreamTimeout
from coordinator.lifecycle.caller import Caller
from coordinator.lifecycle.conversation import prefixes
from coordinator.lifecycle.order import Mode, Order
from coordinator.lifecycle.task import TaskView
from coordinator.protocol.ids import TaskId, new_task_id
from coordinator.protocol.streaming import streams

TASK_HEADER: Final = "X-Task-ID"
# An accepted task outlives a store that is down for a moment; so does the client that waits for it.
_STORE_PAUSE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class ChatLimits:
    """`body` in bytes; `wait` is how long a synchronous opengpu call stays open before it is told to poll; `quiet` how
    long a stream may be silent before a comment goes out."""

    body: int = DEFAULT_LIMIT
    wait: timedelta = timedelta(seconds=600)
    quiet: timedelta = QUIET


@dataclass(frozen=True, slots=True)
class Calls:
    """One request in, one response out, at every endpoint alike.

    Raises RelayError, and ClientGone when nobody is left to answer.
    """

    relay: Relay
    gate: Gate
    catalogue: Catalogue
    upstreams: Upstreams
    keeper: Keeper
    once: Once
    till: Till
    limits: ChatLimits = field(default_factory=ChatLimits)
    hooks: Hooks = field(default_factory=Hooks)

    async def answer(self, kind: type[RelayRequest], scope: Scope, receive: Receive) -> Response:
        who = self.gate.credential(scope)
        body = await read_body(scope["headers"], receive, self.limits.body)
        try:
            key = idempotency_key(scope["headers"])
            sent = Asked.parse(kind, body)
            possible, asked = choices(sent.checked, self.catalogue), sent.checked
            self.hooks.look(asked, who)
        except RelayError as error:
            raise await self.gate.turn_away(who, error) from None
        admitted = await self.gate.admit(scope, who, possible, waits=not asked.asynchronous)
        mode, caller = admitted.mode, admitted.caller
        request = sent.forwarded(mode)
        order = Order(
            mode,
            asked.model,
            request,
            caller.id,
            bool(asked.asynchronous),
            asked.endpoint,
            concurrent=caller.concurrent,
            bill=self.till.bill(caller, asked, mode, request),
            webhook=await self.hooks.accepted(asked, caller),
            client=caller.account,
            prefixes=_prefixes(mode, caller, sent.fields),
            streams=mode == "opengpu" and streams(sent.fields, asked.endpoint),
        )
        if asked.streamed:
            return await self._stream(order, receive)
        run = partial(self._run, scope["request_id"], receive)
        if key is None:
            return await run(order, new_task_id(mode))
        replay = partial(self._replay, scope["request_id"], receive, order)
        return await self.once.answer(ask(key, scope["path"], body, order), order, receive, run, replay)

    async def _run(self, request_id: str, receive: Receive, order: Order, task_id: TaskId) -> Response:
        if order.asynchronous:
            await self.relay.submit(order, task_id)
            return _accepted(task_id)
        if order.mode == "direct":
            return await self._direct(request_id, receive, order, task_id)
        await self.relay.submit(order, task_id)
        return await self._result(request_id, receive, task_id)

    async def _replay(self, request_id: str, receive: Receive, order: Order, task_id: TaskId) -> Response:
        """What the first request with the Idempotency-Key was told, or is going to be."""
        return _accepted(task_id) if order.asynchronous else await self._result(request_id, receive, task_id)

    async def _stream(self, order: Order, receive: Receive) -> Response:
        task_id = new_task_id(order.mode)
        meter = Meter(order.request) if order.bill is not None else None
        request = order.request if meter is None else meter.request
        try:
            async with self.till.hold(task_id, order.bill), HangUp(receive):
                frames = await self.upstreams.stream(order.model, request, order.endpoint)
        except RelayError as error:
            return Failure.of(error).stream_response()
        if meter is not None and order.bill is not None:
            frames = MeteredStream(frames, meter, self.till, task_id, order.bill)
        return StreamedAnswer(frames, quiet=self.limits.quiet)

    async def _direct(self, request_id: str, receive: Receive, order: Order, task_id: TaskId) -> Response:
        started_at = datetime.now(UTC)
        headers: dict[str, str] = {TASK_HEADER: task_id}
        charged = order.bill is not None and order.bill.amount
        keep = self.keeper.keep_first if order.claim or charged else self.keeper.keep
        async with self.till.hold(task_id, order.bill):  # what it refuses never was a task, and a retry may be one
            outcome = await self._complete(order, receive)
            await keep(task_id, order, started_at, outcome)
        if isinstance(outcome, RelayError):
            return Failure.of(outcome).response(request_id, headers=headers)
        return json_response(with_own_fields(outcome, task_id, None, "direct"), headers=headers)

    async def _complete(self, order: Order, receive: Receive) -> bytes | RelayError:
        try:
            async with HangUp(receive):
                return await self.upstreams.complete(order.model, order.request, order.endpoint)
        except RelayError as error:
            return error

    async def _result(self, request_id: str, receive: Receive, task_id: TaskId) -> Response:
        """Of a task that is in the store."""
        headers: dict[str, str] = {TASK_HEADER: task_id}
        try:
            async with HangUp(receive):  # the task lives on without its client
                view = await self._ended(task_id)
        except RelayError as error:
            return Failure.of(error).response(request_id, headers=headers)
        if view.answer is None:
            return Failure.of_task(view).response(request_id, headers=headers)
        body = with_own_fields(view.answer, task_id, view.task_address, view.mode)
        return json_response(body, headers=headers)

    async def _ended(self, task_id: TaskId) -> TaskView:
        """The task once it has ended. Raises UpstreamTimeout, which tells where to poll on."""
        deadline = time.monotonic() + self.limits.wait.total_seconds()
        while (left := deadline - time.monotonic()) > 0:
            try:
                view = await self.relay.wait(task_id, timedelta(seconds=left))
            except StoreUnavailable:
                await asyncio.sleep(min(left, _STORE_PAUSE_S))
                continue
            if view.terminal:
                return view
        raise UpstreamTimeout(f"The task has not ended in time and goes on: poll /v2/tasks/{task_id}")


def _prefixes(mode: Mode, caller: Caller, fields: dict[str, Any]) -> tuple[str, ...]:
    """What a node may have in its cache; an upstream sees to its own."""
    return prefixes(caller.account or caller.id, str(fields["model"]), fields) if mode == "opengpu" else ()


def _accepted(task_id: TaskId) -> Response:
    return json_response(accepted_body(task_id), status=202, headers={TASK_HEADER: task_id})
