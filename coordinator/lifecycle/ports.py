"""What the flow needs of the rooms around it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal, Protocol

from coordinator.errors import RelayError
from coordinator.lifecycle.money import Tokens
from coordinator.lifecycle.order import Commitment, Order, Terms
from coordinator.lifecycle.task import TaskPage, TaskView
from coordinator.protocol.ids import TaskId
from coordinator.protocol.report import Receipt, Refusal


class TaskSpace(Protocol):
    """Where tasks live on chain; `coordinator.protocol.hashing.TaskSpace`."""

    @property
    def chain_id(self) -> int: ...
    @property
    def task_registry(self) -> str: ...
    @property
    def implementation(self) -> str: ...
    @property
    def coordinator(self) -> str: ...
    def task_address(self, key: str, request_hash: str) -> str: ...
    def receipt_digest(self, receipt: Receipt) -> bytes: ...


class Space(Protocol):
    """Where this coordinator's tasks live; None until the chain writer has started for the first time."""

    async def current(self) -> TaskSpace | None: ...


class Tasks(Protocol):
    """The store's side of a task. Every method raises StoreUnavailable when it can't be reached."""

    async def submit(self, task_id: TaskId, order: Order, commitment: Commitment | None) -> TaskView: ...
    async def read(self, task_id: TaskId) -> TaskView: ...
    async def listed(self, caller: str, after: TaskId | None, limit: int) -> TaskPage: ...
    async def cancel(self, task_id: TaskId, caller: str) -> None: ...
    async def proof(self, task_id: TaskId) -> Mapping[str, bytes]: ...
    async def record(self, task_id: TaskId) -> dict[str, str]: ...
    async def terms(self, task_id: TaskId, attempt: int, node: str) -> Terms | Refusal: ...
    async def complete(
        self,
        task_id: TaskId,
        attempt: int,
        node: str,
        answer: str,
        tokens: Tokens,
        receipt: Receipt,
        signature: str,
        payment_wei: int,
    ) -> Refusal | None: ...
    async def give_up_attempt(
        self,
        task_id: TaskId,
        attempt: int,
        node: str,
        how: Literal["refused", "fault", "handed_back"],
        error: RelayError,
    ) -> Refusal | None: ...
    async def keep(self, task_id: TaskId, order: Order, started_at: datetime, outcome: bytes | RelayError) -> None: ...


class Ending(Protocol):
    """Interest in the end of one task, from construction until `close`."""

    def close(self) -> None: ...
    async def heard(self, timeout: timedelta) -> None: ...


class Endings(Protocol):
    """Says when a task may have ended; may miss one."""

    def ending(self, task_id: str) -> Ending: ...


class Serving(Protocol):
    async def serving(self, models: list[str]) -> set[str]: ...


class Vocabularies(Protocol):
    """The models' tokenizers; `coordinator.counting.vocabularies.Vocabularies`."""

    async def count(self, model: str, *texts: list[str]) -> list[int] | None: ...
