"""What the deliverer needs of the rooms around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from coordinator.lifecycle.task import TaskView
from coordinator.lifecycle.webhooks import Attempt, Outcome
from coordinator.protocol.ids import TaskId


class Deliveries(Protocol):
    """The store's side. Every method but `wakeup` may raise StoreUnavailable."""

    async def claim(self) -> Attempt | None:
        """An attempt that is due, leased to this process; None when nothing is."""
        ...

    async def finish(self, attempt: Attempt, outcome: Outcome) -> bool:
        """False, and nothing changed, when the lease had ended and somebody else has the attempt."""
        ...

    async def wakeup(self, timeout: timedelta) -> None:
        """Returns when something may be due, or when time is up."""
        ...


class Tasks(Protocol):
    async def read(self, task_id: TaskId) -> TaskView:
        """Raises TaskNotFound, StoreUnavailable."""
        ...


class Resolver(Protocol):
    async def addresses(self, host: str, port: int) -> Sequence[IPv4Address | IPv6Address]:
        """Raises OSError (socket.gaierror)."""
        ...


class Sender(Protocol):
    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Checks the URL and every address first. Raises nothing."""
        ...
