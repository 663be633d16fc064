"""The chain outbox in memory. The contract tests in tests/unit/store/test_outbox.py hold it to what Redis does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from coordinator.chain.batch import Batch
from coordinator.chain.errors import Superseded
from coordinator.chain.items import Leg
from coordinator.chain.ports import Entry, Ledger, Move, Verdict
from coordinator.errors import StoreUnavailable
from coordinator.lifecycle.record import TRANSITIONS, RecordState, advance
from coordinator.protocol.ids import TaskId

_CHAIN_FIELDS = ("batch", "tx", "block", "gas")


@dataclass
class Shelf:
    """What outlives a writer. `now_ms` is the store's clock."""

    records: dict[str, dict[str, str]] = field(default_factory=dict)
    due: dict[Leg, dict[str, int]] = field(default_factory=lambda: {leg: {} for leg in Leg})
    batches: dict[str, bytes] = field(default_factory=dict)
    flight: dict[str, int] = field(default_factory=dict)
    mined: dict[str, int] = field(default_factory=dict)
    confirmed: dict[str, int] = field(default_factory=dict)
    epoch: int = 0
    head: int | None = None
    now_ms: int = 1_000_000
    unreachable: bool = False


class FakeOutbox:
    """`chain.ports.Outbox`."""

    def __init__(self, shelf: Shelf, *, remembered: int = 100, max_tries: int = 5) -> None:
        self._shelf, self._remembered, self._max_tries, self._epoch = shelf, remembered, max_tries, 0

    async def take_over(self) -> None:
        self._reach()
        self._shelf.epoch += 1
        self._epoch = self._shelf.epoch

    async def load(self) -> Ledger:
        self._reach()
        return Ledger(self._listed(self._shelf.flight), self._listed(self._shelf.mined))

    async def remembered(self, first: int, count: int) -> tuple[Batch, ...]:
        self._reach()
        return self._listed(self._shelf.confirmed)[::-1][first : first + count]

    async def due(self, leg: Leg, limit: int) -> list[Entry]:
        self._fence()
        found: list[Entry] = []
        for task_id, due_ms in sorted(self._shelf.due[leg].items(), key=lambda entry: (entry[1], entry[0])):
            record = self._shelf.records.get(task_id, {})
            if record.get(leg) != "pending":
                del self._shelf.due[leg][task_id]
            elif leg is Leg.SETTLEMENT and record["opening"] == "failed":
                self._fail(task_id, leg, "OPENING_FAILED")
            elif due_ms <= self._shelf.now_ms and (leg is Leg.OPENING or record["opening"] in ("sent", "confirmed")):
                found.append(Entry(TaskId(task_id), due_ms, int(record.get(f"{leg}_tries", "0")), dict(record)))
        return found[:limit]

    async def seal(self, batch: Batch) -> bool:
        self._fence()
        leg = batch.kind.leg
        states = [self._shelf.records.get(member.task_id, {}).get(leg) for member in batch.members]
        if any(state is None or RecordState.SENT not in TRANSITIONS[RecordState(state)] for state in states):
            return False
        for member in batch.members:
            record = self._shelf.records[member.task_id]
            self._move(member.task_id, leg, RecordState.SENT)
            self._drop(record, leg, "block", "gas", "error")
            record |= {f"{leg}_batch": batch.id, f"{leg}_tx": batch.signed[0].tx_hash}
            self._shelf.due[leg].pop(member.task_id, None)
        self._shelf.batches[batch.id] = batch.to_json()
        self._shelf.flight[batch.id] = batch.nonce
        return True

    async def resign(self, batch: Batch, trouble: str = "") -> None:
        self._fence()
        if batch.id not in self._shelf.flight:
            return
        for record in self._owned(batch).values():
            record[f"{batch.kind.leg}_tx"] = batch.newest.tx_hash
            if trouble:
                record[f"{batch.kind.leg}_error"] = trouble
        self._shelf.batches[batch.id] = batch.to_json()

    async def mine(self, batch: Batch, verdicts: Sequence[Verdict]) -> list[TaskId]:
        self._fence()
        failed = [verdict.task_id for verdict in verdicts if self._follow(batch, verdict)]
        self._unlist(batch.id)
        if batch.members and batch.mined is not None:
            self._shelf.batches[batch.id] = batch.to_json()
            self._shelf.mined[batch.id] = batch.mined.block_number
        return failed

    async def confirm(self, batch: Batch) -> None:
        self._fence()
        if batch.id not in self._shelf.mined:
            return
        text = self._shelf.batches[batch.id]
        for task_id, record in self._owned(batch).items():
            if record[batch.kind.leg] == "sent":
                self._move(task_id, batch.kind.leg, RecordState.CONFIRMED)
        block = self._shelf.mined[batch.id]
        self._unlist(batch.id)
        self._shelf.batches[batch.id], self._shelf.confirmed[batch.id] = text, block
        while len(self._shelf.confirmed) > self._remembered:
            self._unlist(min(self._shelf.confirmed, key=lambda key: (self._shelf.confirmed[key], key)))

    async def note_head(self, number: int) -> None:
        self._fence()
        self._shelf.head = number

    async def release(self, batch: Batch, reason: str, *, counts: bool = False) -> list[TaskId]:
        self._fence()
        leg, failed, places = batch.kind.leg, [], {member.task_id: member.due_ms for member in batch.members}
        if batch.id in self._shelf.batches:
            for task_id, record in self._owned(batch).items():
                if RecordState.PENDING in TRANSITIONS[RecordState(record[leg])]:
                    due = places[TaskId(task_id)]
                    if self._back(task_id, leg, due, reason, counts=counts):
                        failed.append(TaskId(task_id))
            self._unlist(batch.id)
        return failed

    async def postpone(self, leg: Leg, task_ids: Sequence[TaskId], delay: timedelta, reason: str) -> None:
        self._fence()
        for task_id in task_ids:
            if self._shelf.records.get(task_id, {}).get(leg) == "pending":
                self._shelf.due[leg][task_id] = self._later(delay)
                self._shelf.records[task_id][f"{leg}_error"] = reason

    async def record(self, task_id: TaskId) -> Mapping[str, str]:
        self._reach()
        return dict(self._shelf.records.get(task_id, {}))

    async def give_up(self, leg: Leg, task_id: TaskId, reason: str) -> None:
        self._fence()
        if self._shelf.records.get(task_id, {}).get(leg) == "pending":
            self._fail(task_id, leg, reason)

    async def retry(self, leg: Leg, task_id: TaskId) -> bool:
        self._reach()
        record = self._shelf.records.get(task_id, {})
        if record.get(leg) != "failed":
            return False
        both = leg is Leg.OPENING and record["settlement"] == "failed"
        both = both and record.get("settlement_error") == "OPENING_FAILED"
        self._drop(record, leg, "tries")
        self._pend(task_id, leg, self._shelf.now_ms, "")
        if both:
            self._pend(task_id, Leg.SETTLEMENT, self._shelf.now_ms, "")
        return True

    # ── moves ───────────────────────────────────────────────────────────────

    def _follow(self, batch: Batch, verdict: Verdict) -> bool:
        """Whether the leg has failed."""
        record = self._owned(batch).get(verdict.task_id)
        if record is None:
            return False
        task_id, leg = verdict.task_id, batch.kind.leg
        if verdict.move is Move.DONE:
            if record[leg] == "confirmed":
                self._move(task_id, leg, RecordState.PENDING)
                self._move(task_id, leg, RecordState.SENT)
            record |= {f"{leg}_tx": verdict.tx_hash, f"{leg}_block": str(verdict.block), f"{leg}_gas": str(verdict.gas)}
            self._drop(record, leg, "error", "tries")
            return False
        if verdict.move is Move.FAILED:
            if record[leg] == "confirmed":
                self._move(task_id, leg, RecordState.PENDING)
            self._fail(task_id, leg, verdict.reason)
            return True
        counts = verdict.counts or verdict.move is Move.REOPEN
        if self._back(task_id, leg, self._later(verdict.delay), verdict.reason, counts=counts):
            return True
        if verdict.move is Move.REOPEN and record["opening"] in ("sent", "confirmed"):
            self._pend(task_id, Leg.OPENING, self._shelf.now_ms, verdict.reason)
        return False

    def _back(self, task_id: str, leg: Leg, due: int, reason: str, *, counts: bool) -> bool:
        record = self._shelf.records[task_id]
        if counts:
            record[f"{leg}_tries"] = str(int(record.get(f"{leg}_tries", "0")) + 1)
            if int(record[f"{leg}_tries"]) >= self._max_tries:
                if record[leg] == "confirmed":
                    self._move(task_id, leg, RecordState.PENDING)
                self._fail(task_id, leg, reason)
                return True
        self._pend(task_id, leg, due, reason)
        return False

    def _pend(self, task_id: str, leg: Leg, due: int, reason: str) -> None:
        self._move(task_id, leg, RecordState.PENDING)
        self._drop(self._shelf.records[task_id], leg, *_CHAIN_FIELDS)
        if reason:
            self._shelf.records[task_id][f"{leg}_error"] = reason
        self._shelf.due[leg][task_id] = due

    def _fail(self, task_id: str, leg: Leg, reason: str) -> None:
        self._move(task_id, leg, RecordState.FAILED)
        self._shelf.records[task_id][f"{leg}_error"] = reason
        self._shelf.due[leg].pop(task_id, None)

    def _move(self, task_id: str, leg: Leg, target: RecordState) -> None:
        record = self._shelf.records[task_id]
        record[leg] = advance(RecordState(record[leg]), target)

    def _drop(self, record: dict[str, str], leg: Leg, *fields: str) -> None:
        for name in fields:
            record.pop(f"{leg}_{name}", None)

    # ── the shelf ───────────────────────────────────────────────────────────

    def _owned(self, batch: Batch) -> dict[str, dict[str, str]]:
        """The records that are still this batch's own; of the batch as stored, which may have more members."""
        stored = Batch.from_json(self._shelf.batches[batch.id]) if batch.id in self._shelf.batches else batch
        found = {member.task_id: self._shelf.records.get(member.task_id) for member in stored.members}
        owner = f"{batch.kind.leg}_batch"
        return {key: record for key, record in found.items() if record is not None and record.get(owner) == batch.id}

    def _listed(self, places: Mapping[str, int]) -> tuple[Batch, ...]:
        ids = sorted(places, key=lambda key: (places[key], key))
        return tuple(Batch.from_json(self._shelf.batches[batch_id]) for batch_id in ids)

    def _unlist(self, batch_id: str) -> None:
        for places in (self._shelf.flight, self._shelf.mined, self._shelf.confirmed, self._shelf.batches):
            places.pop(batch_id, None)  # type: ignore[attr-defined]

    def _later(self, delay: timedelta) -> int:
        return self._shelf.now_ms + round(delay.total_seconds() * 1000)

    def _reach(self) -> None:
        if self._shelf.unreachable:
            raise StoreUnavailable("the fake store is down")

    def _fence(self) -> None:
        self._reach()
        if self._shelf.epoch > self._epoch:
            raise Superseded("another chain writer has started on this store and has taken over")
        self._shelf.epoch = self._epoch
