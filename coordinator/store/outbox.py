"""The chain outbox in Redis: the chain writer's durable side. `lua/outbox_prelude.lua` lists keys and fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
from redis.asyncio import Redis

from coordinator.chain.batch import Batch
from coordinator.chain.errors import Superseded
from coordinator.chain.items import Leg
from coordinator.chain.ports import Entry, Ledger, Verdict
from coordinator.lifecycle.record import TRANSITIONS
from coordinator.protocol.ids import TaskId
from coordinator.store.scripts import lua_table, milliseconds, unavailable

_FOLDER = Path(__file__).with_name("lua")
_PREFIX = "outbox_"
_EPOCH, _BATCH = "relay:chain:epoch", "relay:chain:batch:"
_FLIGHT, _MINED, _CONFIRMED = "relay:chain:flight", "relay:chain:mined", "relay:chain:confirmed"
# A rewind deeper than this many batches goes unnoticed; 50 tasks of 100 bytes each make it 50 MB at most.
REMEMBERED_BATCHES = 10_000
# How often a leg may come back from a batch undone before it is given up; each time it goes in a smaller batch.
MAX_TRIES = 5
# A settled record outlives its task's result (a day) and tombstone (a week): whoever has the proof can still ask.
RECORD_KEPT = timedelta(days=30)


class RedisOutbox:
    """`chain.ports.Outbox`, of one chain writer. `Redis` is a client that answers in bytes (store.connection)."""

    def __init__(self, redis: Redis, *, remembered: int = REMEMBERED_BATCHES, max_tries: int = MAX_TRIES) -> None:
        self._redis, self._remembered, self._max_tries, self._epoch = redis, remembered, max_tries, 0
        prelude = f"local MOVES = {lua_table(TRANSITIONS)}\n" + (_FOLDER / f"{_PREFIX}prelude.lua").read_text()
        self._scripts = {
            path.stem.removeprefix(_PREFIX): redis.register_script(prelude + path.read_text())
            for path in _FOLDER.glob(f"{_PREFIX}*.lua")
            if path.stem != f"{_PREFIX}prelude"
        }

    async def take_over(self) -> None:
        with unavailable():
            self._epoch = int(await self._redis.incr(_EPOCH))

    async def load(self) -> Ledger:
        with unavailable():
            flight = await self._batches(await self._redis.zrange(_FLIGHT, 0, -1))
            mined = await self._batches(await self._redis.zrange(_MINED, 0, -1))
        return Ledger(flight, mined)

    async def remembered(self, first: int, count: int) -> tuple[Batch, ...]:
        with unavailable():
            return await self._batches(await self._redis.zrevrange(_CONFIRMED, first, first + count - 1))

    async def due(self, leg: Leg, limit: int) -> list[Entry]:
        _, *rows = await self._call("due", leg, limit)
        return [_entry(leg, row) for row in rows]

    async def seal(self, batch: Batch) -> bool:
        return bool((await self._call("seal", batch.to_json()))[0] == b"OK")

    async def resign(self, batch: Batch, trouble: str = "") -> None:
        await self._call("resign", batch.to_json(), trouble)

    async def mine(self, batch: Batch, verdicts: Sequence[Verdict]) -> list[TaskId]:
        wire = orjson.dumps([_wire(verdict) for verdict in verdicts])
        return _task_ids(await self._call("mine", batch.to_json(), wire, self._max_tries))

    async def confirm(self, batch: Batch) -> None:
        await self._call("confirm", batch.id, self._remembered, round(RECORD_KEPT.total_seconds()))

    async def note_head(self, number: int) -> None:
        await self._call("head", number)

    async def release(self, batch: Batch, reason: str, *, counts: bool = False) -> list[TaskId]:
        return _task_ids(await self._call("release", batch.id, reason, self._max_tries if counts else 0))

    async def postpone(self, leg: Leg, task_ids: Sequence[TaskId], delay: timedelta, reason: str) -> None:
        await self._call("postpone", leg, milliseconds(delay), reason, *task_ids)

    async def record(self, task_id: TaskId) -> Mapping[str, str]:
        with unavailable():
            stored: dict[Any, Any] = await self._redis.hgetall(f"relay:record:{task_id}")
        return _record([*chain.from_iterable(stored.items())])

    async def give_up(self, leg: Leg, task_id: TaskId, reason: str) -> None:
        await self._call("give_up", leg, task_id, reason)

    async def retry(self, leg: Leg, task_id: TaskId) -> bool:
        """Not fenced: an operator's tool asks while the writer runs."""
        with unavailable():
            epoch = int(await self._redis.get(_EPOCH) or 0)
            said = await self._scripts["retry"](args=[epoch, leg, task_id])
        return bool(said[0] == b"OK")

    async def _call(self, name: str, *args: str | bytes | int) -> list[Any]:
        with unavailable():
            said: list[Any] = await self._scripts[name](args=[self._epoch, *args])
        if said[0] == b"SUPERSEDED":
            raise Superseded("another chain writer has started on this store and has taken over")
        return said

    async def _batches(self, ids: Iterable[Any]) -> tuple[Batch, ...]:
        keys = [_BATCH + batch_id.decode() for batch_id in ids]
        texts: list[Any] = await self._redis.mget(keys) if keys else []
        return tuple(Batch.from_json(text) for text in texts if text is not None)


def _entry(leg: Leg, row: list[Any]) -> Entry:
    task_id, due_ms, flat = row
    record = _record(flat)
    return Entry(TaskId(task_id.decode()), int(float(due_ms)), int(record.get(f"{leg}_tries", "0")), record)


def _record(flat: list[bytes]) -> dict[str, str]:
    fields = [value.decode("utf-8", "replace") for value in flat]
    return dict(zip(fields[::2], fields[1::2], strict=True))


def _task_ids(said: list[Any]) -> list[TaskId]:
    return [TaskId(task_id.decode()) for task_id in said[1:]]


def _wire(verdict: Verdict) -> dict[str, object]:
    return {
        "task_id": verdict.task_id,
        "move": verdict.move,
        "tx_hash": verdict.tx_hash,
        "block": verdict.block,
        "gas": verdict.gas,
        "reason": verdict.reason,
        "delay_ms": milliseconds(verdict.delay),
        "counts": verdict.counts,
    }
