"""Drives the store as a coordinator and its nodes would, with time moved by hand: no test waits for a lease."""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from eth_keys.datatypes import PrivateKey
from redis.asyncio import Redis

from coordinator.errors import UpstreamError
from coordinator.lifecycle.money import Bill, Tokens
from coordinator.lifecycle.order import Commitment, Order
from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.task import TaskState
from coordinator.lifecycle.webhooks import Webhook
from coordinator.protocol.envelope import RUN_ATTEMPT, key_prefix, queue_name
from coordinator.protocol.ids import TaskId, new_task_id
from coordinator.protocol.report import Receipt, Refusal
from coordinator.protocol.session import Hardware, Heartbeat, HeartbeatReply, SessionRequest
from coordinator.store.nodes import NodeStore, Opened
from coordinator.store.scripts import Scripts
from coordinator.store.tasks import Swept, TaskStore

MODEL = "relay/test"
COMMITMENT = Commitment("0x" + "11" * 32, "0x" + "22" * 32, "0x" + "33" * 32, "0x" + "44" * 20)
REQUEST = b'{"model":"relay/test","messages":[{"role":"user","content":"\xc3\xa9 \\" /"}]}'


# No lease or stage ends and nobody is judged for a slow machine: in the state machines time passes by rules alone.
# Two bad attempts suspend a node, and every node is as fast as any, and soon free enough to be waited for.
PATIENT = Policy(
    lease=timedelta(hours=1), heartbeat=timedelta(minutes=30), taken=timedelta(hours=1),
    attempt_timeout=timedelta(hours=1), task_timeout=timedelta(hours=9), breaker_bad=2,
    suspension=timedelta(hours=1), longest_suspension=timedelta(hours=9), half_life=timedelta(days=99),
    noise=timedelta(hours=9), affinity_wait=timedelta(hours=99),
)  # fmt: skip


def counting_ids() -> Callable[[str], TaskId]:
    """Ids in the order of their making. Redis sorts by them, so with random ones a run could not be repeated."""
    numbers = itertools.count(1)
    return lambda mode: TaskId(f"{mode}:{next(numbers):08x}-0000-4000-8000-000000000000")


def new_nonce() -> str:
    return secrets.token_hex(16)


def node_address(number: int) -> str:
    return str(PrivateKey(number.to_bytes(32, "big")).public_key.to_checksum_address())


@dataclass
class Network:
    redis: Redis
    policy: Policy = field(default_factory=Policy)
    ids: Callable[[str], TaskId] = new_task_id

    def __post_init__(self) -> None:
        self.scripts = Scripts(self.redis, self.policy)
        self.tasks = TaskStore(self.redis, self.scripts, self.policy)
        self.nodes = NodeStore(self.redis, self.scripts)
        self.sessions: dict[str, str] = {}

    async def sign_in(
        self, number: int, *, slots: int = 2, models: tuple[str, ...] = (MODEL,), gpus: tuple[str, ...] = ()
    ) -> str:
        node = node_address(number)
        await self.open_session(node, slots=slots, models=models, gpus=gpus)
        await self.beat(node)
        return node

    async def open_session(
        self,
        node: str,
        *,
        previous: str | None = None,
        slots: int = 2,
        models: tuple[str, ...] = (MODEL,),
        gpus: tuple[str, ...] = (),
    ) -> Opened:
        """Before its first heartbeat."""
        challenge = await self.nodes.challenge(node)
        request = SessionRequest(
            node=node, challenge=challenge, models=models, slots=slots, previous=previous,
            hardware=Hardware(gpu_ids=gpus),
        )  # fmt: skip
        opened = await self.nodes.open_session(request, new_nonce())
        self.sessions[node] = opened.session
        return opened

    async def beat(
        self,
        node: str,
        *running: str,
        draining: bool = False,
        session: str | None = None,
        answering: tuple[str, ...] = (),
        stake_wei: int | None = None,
    ) -> HeartbeatReply:
        beat = Heartbeat(
            session=session or self.sessions[node], running=running, answering=answering, draining=draining
        )
        return await self.nodes.heartbeat(node, beat, new_nonce(), stake_wei)

    async def leave(self, node: str, session: str | None = None) -> None:
        await self.nodes.leave(node, session or self.sessions.get(node, ""), new_nonce())

    async def submit(
        self,
        *,
        model: str = MODEL,
        mode: str = "opengpu",
        bill: Bill | None = None,
        webhook: Webhook | None = None,
        client: str | None = None,
        caller: str = "guest",
        streams: bool = False,
        prefixes: tuple[str, ...] = (),
    ) -> TaskId:
        task_id = self.ids(mode)
        order = Order(
            mode, model, REQUEST, caller, asynchronous=True, bill=bill, webhook=webhook, client=client,  # type: ignore[arg-type]
            streams=streams, prefixes=prefixes,
        )  # fmt: skip
        await self.tasks.submit(task_id, order, COMMITMENT if mode == "opengpu" else None)
        return task_id

    async def complete(self, attempt: str, node: str, answer: str = '{"ok":1}') -> Refusal | None:
        task_id, _, number = attempt.rpartition("#")
        receipt = Receipt(
            task=COMMITMENT.task_address, attempt=int(number), request_hash=COMMITMENT.request_hash,
            response_hash="0x" + "55" * 32, prompt_tokens=3, completion_tokens=4, started_at_ms=1, finished_at_ms=2,
        )  # fmt: skip
        tokens, signature = Tokens(3, 4), "0x" + "66" * 65
        return await self.tasks.complete(TaskId(task_id), int(number), node, answer, tokens, receipt, signature, 7)

    async def fail(
        self, attempt: str, node: str, how: Literal["refused", "fault", "handed_back"] = "fault"
    ) -> Refusal | None:
        task_id, _, number = attempt.rpartition("#")
        return await self.tasks.give_up_attempt(TaskId(task_id), int(number), node, how, UpstreamError("failed"))

    async def envelopes(self, node: str) -> list[dict[str, object]]:
        """Takes all of a node's queue, oldest first, as its consumer would."""
        key, found = f"{key_prefix(node)}{queue_name(node)}", []
        while (raw := await self.redis.rpop(key)) is not None:
            message = json.loads(raw)
            if message["headers"]["task"] != RUN_ATTEMPT:
                continue
            [envelope], kwargs, _ = json.loads(message["body"])
            assert kwargs == {}
            found.append(envelope)
        return found

    async def held(self, node: str) -> set[str]:
        return {item.decode() for item in await self.redis.smembers(f"relay:held:{node}")}

    async def sweep(self) -> Swept:
        """However slow this machine is: a pause of its own is no outage."""
        await self.redis.delete("relay:swept_ms")
        return await self.tasks.sweep()

    async def end_lease(self, attempt: str) -> Swept:
        """As if the lease's time had passed."""
        await self.redis.zadd("relay:leases", {attempt: 0})
        return await self.sweep()

    async def end_patience(self) -> Swept:
        """As if everybody had waited for long enough for the node that has his conversation."""
        for task in await self.redis.zrange("relay:patient", 0, -1):
            await self.redis.zadd("relay:patient", {task: 0})
        return await self.sweep()

    async def silence(self, node: str) -> Swept:
        """As if the node had died and a whole lease had passed."""
        await self.redis.zadd("relay:nodes", {node: 0})
        for attempt in await self.held(node):
            await self.redis.zadd("relay:leases", {attempt: 0})
        return await self.sweep()

    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC)

    async def state(self, task_id: TaskId) -> TaskState:
        return (await self.tasks.read(task_id)).state
