"""Law: whatever is retried, in whatever order, from however many processes, one key makes one task and every reply is
that task's. A synchronous call whose task failed for no fault of its client's, and so for nothing, may make another.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from redis.asyncio import Redis

from coordinator.errors import IdempotencyInProgress, RelayError, UpstreamError, UpstreamInvalidRequest
from coordinator.lifecycle.idempotency import Ask, Kind, Turn
from coordinator.lifecycle.order import Order
from coordinator.lifecycle.task import TaskView
from coordinator.protocol.ids import TaskId
from coordinator.store.idempotency import IdempotencyClaims
from coordinator.store.signals import Signals
from tests.unit.store.network import COMMITMENT, MODEL, PATIENT, REQUEST, Network, counting_ids

CALLER = "key_0000000000000001"
OUTCOMES = st.sampled_from([b'{"a":1}', UpstreamError("It broke."), UpstreamInvalidRequest("No such tool.")])


@dataclass
class Request:
    """A handler in some process, however slow. `turn`: what it was told last."""

    ask: Ask
    turn: Turn
    over: bool = False


class IdempotencyMachine(RuleBasedStateMachine):
    """Subclasses say which Redis. Steps of many requests are shuffled as if each stood in a process of its own."""

    def connect(self) -> Redis:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = self.run(self._fresh())
        self.network = Network(self.redis, PATIENT, counting_ids())
        self.node = self.run(self.network.sign_in(1, slots=100))
        self.claims = IdempotencyClaims(self.network.scripts, Signals(self.redis))
        self.kind: Kind = "task"
        self.requests: list[Request] = []
        self.made: dict[TaskId, str] = {}  # each with its body
        self.lasting: dict[TaskId, bool] = {}
        self.replies: list[tuple[str, TaskId]] = []

    @property
    def mode(self) -> str:
        return "direct" if self.kind == "direct" else "opengpu"

    async def _fresh(self) -> Redis:
        redis = self.connect()
        await redis.flushall()
        return redis

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        self.run(self.redis.aclose())
        self.runner.close()

    @initialize(kind=st.sampled_from(["async", "task", "direct"]))
    def begin(self, kind: Kind) -> None:
        self.kind = kind

    # ── what requests do ────────────────────────────────────────────────────

    @rule(data=st.data())
    def something_happens(self, data: st.DataObject) -> None:
        """One rule and not ten: left to choose, Hypothesis leaves half of them out, and half of the story with them."""
        doings = [self.arrive]
        if self._those("running"):
            doings.append(self.ask_again)
        if self._those("fresh"):
            doings += [self.write, self.write, self.be_refused, self.hear_nothing]
        if self.requests:
            doings.append(self.time_passes)
        if self.made:
            doings.append(self.a_task_ends)
        data.draw(st.sampled_from(doings))(data)

    def arrive(self, data: st.DataObject) -> None:
        body = data.draw(st.sampled_from(["a", "a", "a", "a", "b"]))
        number = len(self.requests)
        task_id = TaskId(f"{self.mode}:{uuid.UUID(int=number, version=4)}")
        ask = Ask(CALLER, "k", body, self.kind, task_id, f"t{number}")
        request = Request(ask, self.run(self.claims.claim(ask)))
        self.requests.append(request)
        self._hear(request)

    def ask_again(self, data: st.DataObject) -> None:
        """One that has joined a direct call looks whether it has ended."""
        request = data.draw(st.sampled_from(self._those("running")))
        request.turn = self.run(self.claims.claim(request.ask, joined=request.turn.task_id))
        self._hear(request)

    def write(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self._those("fresh")))
        self._write(request, data.draw(OUTCOMES))
        request.over = True
        self.claims.settle(request.turn.claim)

    def be_refused(self, data: st.DataObject) -> None:
        """By the limits, the budget, a full line; or its client hung up on a direct call."""
        request = data.draw(st.sampled_from(self._those("fresh")))
        request.over = True
        self.run(self.claims.release(request.turn.claim))

    def hear_nothing(self, data: st.DataObject) -> None:
        """The store did not answer; the write may come through before, after or not at all: the request is not over."""
        request = data.draw(st.sampled_from(self._those("fresh")))
        if data.draw(st.booleans()):
            self._write(request, data.draw(OUTCOMES), replies=False)
        self.run(self.claims.release(request.turn.claim))

    def _those(self, what: str) -> list[Request]:
        return [request for request in self.requests if request.turn.what == what and not request.over]

    def _hear(self, request: Request) -> None:
        if request.turn.what == "accepted":
            self.replies.append((request.ask.fingerprint, request.turn.task_id))

    def _write(self, request: Request, outcome: bytes | RelayError, *, replies: bool = True) -> None:
        ask, turn = request.ask, request.turn
        order = Order(self.mode, MODEL, REQUEST, CALLER, claim=turn.claim)  # type: ignore[arg-type]
        lost = self.run(self.redis.hget(turn.claim.name, "token")) != turn.claim.token.encode()
        there = turn.task_id in self.made
        expired = not self.run(self.redis.exists(f"relay:task:{turn.task_id}"))
        try:
            if self.kind == "direct":
                self.run(self.network.tasks.keep(turn.task_id, order, self.network.now(), outcome))
            else:
                self.run(self.network.tasks.submit(turn.task_id, order, COMMITMENT))
        except IdempotencyInProgress:
            return
        assert there or not lost, "a task of one that had lost its claim"
        assert not there or not expired, "a task that ran twice"
        self.made.setdefault(turn.task_id, ask.fingerprint)
        if replies:
            self.replies.append((ask.fingerprint, turn.task_id))

    # ── what time, nodes and clients do ─────────────────────────────────────

    def time_passes(self, data: st.DataObject) -> None:
        """Whoever had the claim is killed, or only slow: its time is over, and it may go on all the same."""
        for request in self.requests:
            self.claims.settle(request.turn.claim)
        name = self.requests[0].turn.claim.name
        if self.run(self.redis.exists(name)):
            self.run(self.redis.hset(name, "until_ms", "0"))

    def a_task_ends(self, data: st.DataObject) -> None:
        how = data.draw(st.sampled_from(["completes", "fails", "fails", "is cancelled", "expires"]))
        self.run(self._end(data.draw(st.sampled_from(list(self.made))), how))

    async def _end(self, task: TaskId, how: str) -> None:
        if how == "expires" and await self.redis.exists(f"relay:gone:{task}"):
            await self.redis.delete(f"relay:task:{task}")
            for request in self.requests:  # they are a day old
                request.over = True
        elif how == "completes":
            await self.network.complete(f"{task}#1", self.node)
        elif how == "fails":
            await self.network.tasks.give_up_attempt(task, 1, self.node, "refused", UpstreamError("It broke."))
        elif how == "is cancelled" and await self.redis.exists(f"relay:task:{task}"):
            await self.network.tasks.cancel(task, CALLER)

    # ── what must hold after every step ─────────────────────────────────────

    @invariant()
    def the_law(self) -> None:
        self.run(self._check())

    async def _check(self) -> None:
        for body, task in self.replies:
            assert self.made.get(task) == body, "a reply that is not its own task's"
        assert sum([await self._lasts(task) for task in self.made]) <= 1, "two tasks under one key"
        stored = {name.decode().removeprefix("relay:task:") for name in await self.redis.keys("relay:task:*")}
        assert stored <= set(self.made)

    async def _lasts(self, task: TaskId) -> bool:
        """False for one that a retry may follow. One that has expired lasts if it did."""
        if await self.redis.exists(f"relay:task:{task}"):
            view: TaskView = await self.network.tasks.read(task)
            self.lasting[task] = self.kind == "async" or view.error_status is None or view.error_status < 429
        return self.lasting[task]
