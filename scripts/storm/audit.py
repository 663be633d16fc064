"""After the storm: every task that the relay has, as clients, store and chain show it. verdict.py judges."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from eth_utils.crypto import keccak
from redis.asyncio import Redis

from scripts.network.wire import rpc
from scripts.storm.load import ENDED

AT_ONCE = 16
PAUSE = 0.2
OPENED = "TaskOpened(address,address,bytes32,bytes32)"
COMPLETED = "TaskCompleted(address,address,bytes32,uint96,uint32,uint32)"
FAILED = "TaskFailed(address,bytes32)"


@dataclass(slots=True)
class Found:
    """One task. `accepted`: how many of its attempts the store holds for accepted; `recorded`: on chain, both legs."""

    task_id: str
    mode: str
    status: str
    prompt: str
    answer: str | None
    code: str | None
    detail: str | None
    address: str | None
    attempts: int
    accepted: int
    recorded: bool


@dataclass(slots=True)
class Settled:
    """What the registry says of a task when it is asked. `status`: ITaskRegistry's; `payment` in wei."""

    status: int
    node: str
    payment: int


@dataclass(slots=True)
class OnChain:
    """What the registry has told, by the task's lower-case address; what it paid and owes, by the node's.

    `state`: of tasks of which it has told no end. anvil's snapshots hold the state of a block a moment before they hold
    the block, so a chain that was killed may have forgotten an event, and not what it was about.
    """

    opened: Counter[str] = field(default_factory=Counter)
    completed: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    paid: dict[str, int] = field(default_factory=dict)
    credit: dict[str, int] = field(default_factory=dict)
    state: dict[str, Settled] = field(default_factory=dict)


class Audit:
    """Reads until everything has ended and is recorded, or `deadline` (of the loop's clock) has passed."""

    def __init__(
        self, up: dict[str, Any], sessions: list[aiohttp.ClientSession], redis: Redis, deadline: float
    ) -> None:
        self._up, self._sessions, self._redis, self._deadline = up, sessions, redis, deadline
        self._room = asyncio.Semaphore(AT_ONCE)

    async def tasks(self, told: Iterable[str]) -> list[Found]:
        """Of all keys: those in the keys' lists, and those that clients were told and no list has."""
        listed = await asyncio.gather(*(self._listed(session) for session in self._sessions))
        ids = dict.fromkeys([task_id for ids in listed for task_id in ids] + list(told))
        return list(await asyncio.gather(*(self._look(task_id) for task_id in ids)))

    async def chain(self, tasks: Iterable[Found]) -> OnChain:
        addresses = {task.address for task in tasks if task.address is not None}
        return await asyncio.to_thread(self._chain, addresses)

    async def _listed(self, session: aiohttp.ClientSession) -> list[str]:
        ids: list[str] = []
        cursor: str | None = None
        while True:
            after = f"&starting_after={cursor}" if cursor else ""
            _, page = await self._get(session, f"/v2/tasks?limit=100{after}")
            ids += [row["task_id"] for row in page["tasks"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return ids

    async def _look(self, task_id: str) -> Found:
        async with self._room:
            while True:
                found = await self._once(task_id)
                ready = found.status in ENDED and (found.recorded or found.mode == "direct")
                if ready or found.status == "unknown" or self._now() > self._deadline:
                    return found
                await asyncio.sleep(PAUSE)

    async def _once(self, task_id: str) -> Found:
        status, seen = await self._get(self._sessions[0], f"/v2/tasks/{task_id}")
        if status != 200:
            return Found(task_id, "", "unknown", "", None, None, None, None, 0, 0, False)
        _, proof = await self._get(self._sessions[0], f"/v2/tasks/{task_id}/proof")
        fields = await self._redis.hgetall(f"relay:task:{task_id}")
        states = [value for name, value in fields.items() if str(name).startswith("attempt_state:")]
        return Found(
            task_id,
            seen["mode"],
            seen["status"],
            str(orjson.loads(proof["request"])["messages"][-1]["content"]),
            _text(seen.get("result")),
            seen.get("error_code"),
            seen.get("error_detail"),
            seen["task_address"].lower() if seen.get("task_address") else None,
            len(states),
            states.count("accepted"),
            proof["opening"]["status"] == proof["settlement"]["status"] == "confirmed",
        )

    async def _get(self, session: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
        """Asks again while the relay comes back. Raises TimeoutError when it doesn't."""
        while True:
            try:
                async with session.get(f"{self._up['base_url']}{path}") as answer:
                    if answer.status < 500:
                        return answer.status, await answer.json(content_type=None)
            except (aiohttp.ClientError, TimeoutError):
                pass
            if self._now() > self._deadline + AT_ONCE:
                raise TimeoutError(f"the relay does not answer {path}")
            await asyncio.sleep(PAUSE)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _chain(self, addresses: set[str]) -> OnChain:
        found, paid = OnChain(), defaultdict[str, int](int)
        found.opened = Counter(_address(log["topics"][1]) for log in self._logs(OPENED))
        found.failed = Counter(_address(log["topics"][1]) for log in self._logs(FAILED))
        for log in self._logs(COMPLETED):
            found.completed[_address(log["topics"][1])] += 1
            paid[_address(log["topics"][2])] += int(log["data"][66:130], 16)
        for address in addresses:
            if not (found.opened[address] and found.completed[address] + found.failed[address]):
                found.state[address] = self._settled(address)
        found.paid = dict(paid)
        nodes = {*paid, *(settled.node for settled in found.state.values() if settled.payment)}
        found.credit = {node: self._ask("creditOf(address)", node) for node in nodes}
        return found

    def _settled(self, address: str) -> Settled:
        node = f"0x{self._ask('nodeOf(address)', address):040x}"
        return Settled(self._ask("statusOf(address)", address), node, self._ask("paymentOf(address)", address))

    def _logs(self, event: str) -> list[dict[str, Any]]:
        query = {"fromBlock": "0x0", "toBlock": "latest", "address": self._up["contracts"]["TaskRegistry"]}
        logs: list[dict[str, Any]] = rpc(
            self._up["rpc_url"], "eth_getLogs", {**query, "topics": ["0x" + keccak(text=event).hex()]}
        )
        return logs

    def _ask(self, function: str, address: str) -> int:
        """One word of the registry's."""
        data = "0x" + keccak(text=function)[:4].hex() + address[2:].rjust(64, "0")
        call = {"to": self._up["contracts"]["TaskRegistry"], "data": data}
        return int(rpc(self._up["rpc_url"], "eth_call", call, "latest"), 16)


def _address(topic: str) -> str:
    return "0x" + topic[-40:].lower()


def _text(result: Any) -> str | None:
    """What the answer says; None where there is none, or it is of a shape that nobody should have accepted."""
    try:
        return str(result["choices"][0]["message"]["content"])
    except (KeyError, IndexError, TypeError):
        return None
