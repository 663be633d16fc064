"""Who calls, and what the store said of it: one answer for credentials, scopes and limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:  # an order says who it is of
    from coordinator.lifecycle.order import Mode

Tier = Literal["guest", "basic", "pro", "max"]
TIERS: Final[tuple[Tier, ...]] = ("guest", "basic", "pro", "max")


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request came with: a key (a secret, for no log), else the address that a guest is known by."""

    api_key: str | None
    address: str


@dataclass(frozen=True, slots=True)
class Caller:
    """`id` is `key_…` or `guest:{address}`; tasks belong to it. `concurrent`: unfinished tasks at a time."""

    id: str
    tier: Tier = "guest"
    key_id: str | None = None
    account: str | None = None
    superkey: bool = False
    concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """The tighter of a request's limits: requests a minute, how many more may come now, and when all may again."""

    limit: int
    remaining: int
    reset: timedelta


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may run, and the mode it runs in."""

    caller: Caller
    mode: Mode
    allowance: Allowance
