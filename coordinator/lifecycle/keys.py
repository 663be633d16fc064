"""Client keys as their owners and operators see them. Money is whole nano-dollars."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from coordinator.lifecycle.caller import Tier
from coordinator.lifecycle.money import NANO as NANO

KeyStatus = Literal["active", "revoked"]
KEY_ID: Final = re.compile(r"^key_[0-9a-f]{16}$")
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
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyQuery:
    """Which keys of an account; None does not ask. `starting_after` is a key id."""

    limit: int = 100
    status: KeyStatus | None = None
    name: str | None = None
    name_prefix: str | None = None
    superkey: bool | None = None
    starting_after: str | None = None

    def asks_for(self, key: Key) -> bool:
        return (
            self.status in (None, key.status)
            and self.name in (None, key.name)
            and key.name.startswith(self.name_prefix or "")
            and self.superkey in (None, key.superkey)
        )


@dataclass(frozen=True, slots=True)
class KeyPage:
    """`total` keys were asked for; these are some of them, and there are more when there is a `next_cursor`."""

    keys: Sequence[Key]
    total: int
    next_cursor: str | None


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
