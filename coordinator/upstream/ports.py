"""What the runner of asynchronous direct tasks needs of the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol, TypeVar

from coordinator.errors import RelayError
from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.ids import TaskId


class Claim(Protocol):
    """One direct task in the hands of one process, for as long as its lease is renewed. `attempt` is the fence."""

    @property
    def task_id(self) -> TaskId: ...

    @property
    def attempt(self) -> int: ...

    @property
    def model(self) -> str: ...

    @property
    def request(self) -> bytes: ...

    @property
    def endpoint(self) -> Endpoint: ...


ClaimT = TypeVar("ClaimT", bound=Claim)


class DirectLine(Protocol[ClaimT]):
    """The line of asynchronous direct tasks. Every method may raise StoreUnavailable."""

    async def claim(self) -> ClaimT | None:
        """The next task in line, leased to the caller; None when there is none."""
        ...

    async def renew(self, claims: Sequence[ClaimT]) -> Sequence[ClaimT]:
        """Prolongs the leases. Returns those that are over: cancelled, past their deadline, or somebody else's now."""
        ...

    async def finish(self, claim: ClaimT, outcome: bytes | RelayError) -> None:
        """The answer's body, or what went wrong. Changes nothing when the claim was lost."""
        ...

    async def wakeup(self, timeout: timedelta) -> None:
        """Returns when there may be something to claim, or when the time is up."""
        ...
