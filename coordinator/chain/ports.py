"""What the chain writer asks of the store, of the network and of the key. No web3 and no redis here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from coordinator.chain.batch import Batch
from coordinator.chain.items import Item, Kind, Leg
from coordinator.protocol.ids import TaskId


@dataclass(frozen=True, slots=True)
class Entry:
    """One leg that is due. `record` is the whole hash, `tries` how often this leg came back from a batch undone."""

    task_id: TaskId
    due_ms: int
    tries: int
    record: Mapping[str, str]


class Move(StrEnum):
    """Where a mined batch leaves one of its members."""

    DONE = "done"  # on chain: stays `sent` until deep enough
    RETRY = "retry"  # back to `pending`
    REOPEN = "reopen"  # a settlement whose opening is missing on chain: both legs back to `pending`
    FAILED = "failed"  # given up, with a reason


@dataclass(frozen=True, slots=True)
class Verdict:
    """`tx_hash`, `block` and `gas` belong to DONE; `reason` to the others; `delay` holds a retry back.

    `counts`: the retry brings the leg nearer to being given up.
    """

    task_id: TaskId
    move: Move
    tx_hash: str = ""
    block: int = 0
    gas: int = 0
    reason: str = ""
    delay: timedelta = timedelta()
    counts: bool = False


@dataclass(frozen=True, slots=True)
class Ledger:
    """The batches as the store has them: not yet mined (by nonce), and mined but not deep enough (by block)."""

    flight: tuple[Batch, ...]
    mined: tuple[Batch, ...]


class Outbox(Protocol):
    """The durable side. Every call is one atomic step, safe to repeat.

    All raise StoreUnavailable when the store can't be reached, and all but `take_over` and the readers raise Superseded
    when a newer writer has taken over. A leg whose record is gone or belongs to another batch by now is left alone.
    """

    async def take_over(self) -> None:
        """Makes this writer the only one; an older one finds out at its next step."""

    async def load(self) -> Ledger: ...

    async def remembered(self, first: int, count: int) -> tuple[Batch, ...]:
        """Confirmed batches, newest block first, from the `first`-th on."""

    async def due(self, leg: Leg, limit: int) -> list[Entry]:
        """Legs that are pending and may go now, oldest first. A settlement waits until its opening is sent."""

    async def seal(self, batch: Batch) -> bool:
        """Stores a new batch before it is broadcast; its legs are `sent` from now on.

        False when one of them is not pending any more: then nothing has changed.
        """

    async def resign(self, batch: Batch, trouble: str = "") -> None:
        """Stores another signed form before it is broadcast. `trouble` is the legs' error until they are mined."""

    async def mine(self, batch: Batch, verdicts: Sequence[Verdict]) -> list[TaskId]:
        """Stores where a batch was mined (`batch.members`: those that are done) and moves every leg by its verdict.

        Returns the tasks whose leg is `failed` now: by its verdict, or because it has come back too often.
        """

    async def confirm(self, batch: Batch) -> None: ...

    async def note_head(self, number: int) -> None:
        """Leaves the newest block for API processes, which never talk to the chain."""

    async def release(self, batch: Batch, reason: str, *, counts: bool = False) -> list[TaskId]:
        """Forgets a batch that the chain doesn't have and never will: its legs are pending in their old places.

        With `counts`, a leg that has come back too often is `failed` instead; returns those tasks.
        """

    async def postpone(self, leg: Leg, task_ids: Sequence[TaskId], delay: timedelta, reason: str) -> None:
        """Pending legs that would only be skipped now; `reason` is their error for the time being."""

    async def record(self, task_id: TaskId) -> Mapping[str, str]:
        """Empty when it has expired."""

    async def give_up(self, leg: Leg, task_id: TaskId, reason: str) -> None:
        """A pending leg that no batch can carry is `failed`."""

    async def retry(self, leg: Leg, task_id: TaskId) -> bool:
        """An operator asks for another try of a `failed` leg. False when it isn't failed."""


class TaskStatus(StrEnum):
    """The contract's enum `Status`."""

    NONE = "none"
    OPEN = "open"
    COMPLETED = "completed"
    FAILED = "failed"


class Skip(StrEnum):
    """The contract's enum `SkipReason`, in its order."""

    ALREADY_OPEN = "ALREADY_OPEN"
    NOT_OPEN = "NOT_OPEN"
    ALREADY_SETTLED = "ALREADY_SETTLED"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    INSUFFICIENT_DEPOSIT = "INSUFFICIENT_DEPOSIT"


@dataclass(frozen=True, slots=True)
class TxReceipt:
    """What a mined transaction did. `outcomes`: task address → None for done, or why it was skipped."""

    tx_hash: str
    block_number: int
    block_hash: str
    gas_used: int
    succeeded: bool
    outcomes: Mapping[str, Skip | None]


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block. `base_fee` in wei a gas."""

    number: int
    hash: str
    base_fee: int


@dataclass(frozen=True, slots=True)
class TaskOnChain:
    """`result`: 32 bytes, the response hash of a completed task or the code of a failed one."""

    status: TaskStatus
    result: bytes


@dataclass(frozen=True, slots=True)
class Place:
    tx_hash: str
    block_number: int


class Chain(Protocol):
    """The network as the signer's account sees it. All raise ChainUnavailable; ChainRejected where said."""

    async def close(self) -> None: ...

    async def check(self) -> None:
        """Raises StartRefused when this is not the chain, or not the contract, that we were set up for."""

    async def head(self) -> Head: ...

    async def block_hash(self, number: int) -> str | None: ...

    async def mined_nonce(self) -> int:
        """The first nonce of the signer that is still free in the newest block."""

    async def tip(self) -> int:
        """The priority fee that the endpoint suggests, in wei a gas."""

    async def balance(self) -> int: ...

    async def deposit(self) -> int:
        """What is left to pay nodes with, in wei."""

    def task_address(self, task_key: str, request_hash: str) -> str: ...

    def calldata(self, kind: Kind, items: Sequence[Item]) -> str: ...

    async def broadcast(self, raw: str) -> None:
        """Raises ChainRejected. One that is known already may be refused or not, as the client likes."""

    async def knows(self, tx_hash: str) -> bool:
        """Whether the endpoint has the transaction, in a block or waiting for one."""

    async def tx_receipt(self, tx_hash: str) -> TxReceipt | None: ...

    async def task(self, address: str) -> TaskOnChain: ...

    async def place_of(self, address: str, leg: Leg) -> Place | None:
        """The transaction that opened or closed a task, from the logs; None where the endpoint doesn't find it."""


class Signer(Protocol):
    """The one key that writes to the chain."""

    @property
    def address(self) -> str: ...

    def sign(self, data: str, nonce: int, gas: int, max_fee: int, tip: int) -> tuple[str, str]:
        """(raw transaction, its hash): a call of the registry without value."""

    def data_of(self, raw: str) -> str:
        """The calldata of a raw transaction, to sign it again with other fees."""
