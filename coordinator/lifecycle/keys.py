"""Client keys as their owners and operators see them. Money is whole nano-dollars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from coordinator.lifecycle.caller import Tier

KeyStatus = Literal["active", "revoked"]
NANO: Final = 10**9
# Redis counts in 64 bits, its scripts in doubles: below this both are exact.
MAX_BUDGET_NANO: Final = 10**6 * NANO


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What a key may use, of what its tier may: scopes, all when there are none; limits that go before the tier's.

    `rate_limits`: requests a minute by bucket (opengpu, direct, global), and `concurrent`.
    """

    scopes: Sequence[str] = ()
    rate_limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Key:
    """`shown` is all that is known of the key itself. `budget_nano` None: as much as its account has."""

    key_id: str
    name: str
    shown: str
    account: str
    tier: Tier
    status: KeyStatus
    superkey: bool
    created_at: datetime
    revoked_at: datetime | None
    restrictions: Restrictions
    budget_nano: int | None
    spent_nano: int


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key is to be made of."""

    name: str
    account: str
    tier: Tier
    superkey: bool = False
    restrictions: Restrictions = field(default_factory=Restrictions)
    budget_nano: int | None = None


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """What is to change; None stays. `no_budget` takes the budget away, and with it its end."""

    name: str | None = None
    restrictions: Restrictions | None = None
    budget_nano: int | None = None
    no_budget: bool = False
    tier: Tier | None = None
