"""What the routes of keys take and answer. Money is US dollars, exact to a billionth."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from coordinator.lifecycle.caller import Tier
from coordinator.lifecycle.keys import MAX_BUDGET_NANO, NANO, Key, Restrictions
from coordinator.lifecycle.tiers import Rate, ScopeName

MAX_DOLLARS: Final = MAX_BUDGET_NANO // NANO
_MAX_SCOPES: Final = 1000
_TEXT: Final = r"\d{1,7}(\.\d{1,9})?"


def _decimal(value: object) -> object:
    """A JSON number as its shortest text says it, or a text: 0.1 is a tenth."""
    if isinstance(value, str) and not re.fullmatch(_TEXT, value, re.ASCII):
        raise ValueError("must be US dollars, such as 2.5, with at most 9 decimals")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be a number of US dollars")
    exact = Decimal(str(value))
    if not exact.is_nan() and abs(exact) <= MAX_DOLLARS and exact * NANO % 1:
        raise ValueError("must have at most 9 decimals")
    return exact


def _schema(**least: float) -> WithJsonSchema:
    number = {"type": "number", "maximum": MAX_DOLLARS, **least}
    return WithJsonSchema({"anyOf": [number, {"type": "string", "pattern": f"^{_TEXT}$"}]})


def _kept(key: str) -> str:
    if "relay_sk_" in key:
        raise ValueError("must not hold a key: names are shown")
    return key


Dollars = Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, le=MAX_DOLLARS), _schema(minimum=0)]
Amount = Annotated[Decimal, BeforeValidator(_decimal), Field(gt=0, le=MAX_DOLLARS), _schema(exclusiveMinimum=0)]
Name = Annotated[str, Field(min_length=3, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$"), AfterValidator(_kept)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class KeyRateLimits(_Body):
    """Requests a minute, and unfinished tasks at a time. What is not named is as the tier has it."""

    opengpu: Rate | None = None
    direct: Rate | None = None
    overall: Rate | None = Field(default=None, alias="global")
    concurrent: Rate | None = None


class KeyRestrictions(_Body):
    """`model_restrictions`: the only scopes (`{mode}.{source}.{model}`) the key may use; none: all of its tier's."""

    model_restrictions: Annotated[list[ScopeName], Field(max_length=_MAX_SCOPES)] | None = None
    rate_limits: KeyRateLimits | None = None

    def known(self) -> Restrictions:
        limits = self.rate_limits.model_dump(by_alias=True, exclude_none=True) if self.rate_limits else {}
        return Restrictions(tuple(dict.fromkeys(self.model_restrictions or ())), limits)


class CreateKeyRequest(_Body):
    """`key_budget`: US dollars that the key may spend; none: as much as its account has."""

    name: Name
    restrictions: KeyRestrictions | None = None
    key_budget: Dollars | None = None


class UpdateKeyRequest(_Body):
    """What is not named stays; null takes restrictions or the budget away."""

    name: Name | None = None
    restrictions: KeyRestrictions | None = None
    key_budget: Dollars | None = None


class TopupKeyRequest(_Body):
    amount: Amount


KEY_REQUESTS: Final = (CreateKeyRequest, UpdateKeyRequest, TopupKeyRequest)


class KeyRow(BaseModel):
    """`key`: its first characters, and in the answer to its making all of it. `key_spent`: US dollars so far."""

    key_id: str
    key: str
    name: str
    status: Literal["active", "revoked"]
    tier: Tier
    is_superkey: bool
    system: bool
    created_at: str
    revoked_at: str | None
    last_used_at: str | None
    restrictions: dict[str, Any]
    key_budget: float | None
    key_spent: float


class KeyList(BaseModel):
    """Newest first. `total` keys match; `max_allowed`: how many the account may have, revoked ones counted."""

    total: int
    max_allowed: int
    limit: int
    has_more: bool
    next_cursor: str | None
    keys: list[KeyRow]


class KeyDeleted(BaseModel):
    key_id: str
    deleted: bool


def nano(dollars: Decimal) -> int:
    return int(dollars * NANO)


def row_of(key: Key, full: str | None = None) -> dict[str, Any]:
    """A KeyRow, for orjson."""
    return {
        "key_id": key.key_id,
        "key": full or key.shown,
        "name": key.name,
        "status": key.status,
        "tier": key.tier,
        "is_superkey": key.superkey,
        "system": False,
        "created_at": key.created_at.isoformat(timespec="microseconds"),
        "revoked_at": key.revoked_at.isoformat(timespec="microseconds") if key.revoked_at else None,
        "last_used_at": key.used_at.isoformat(timespec="microseconds") if key.used_at else None,
        "restrictions": {
            "model_restrictions": list(key.restrictions.scopes),
            "rate_limits": dict(key.restrictions.rate_limits),
        },
        "key_budget": None if key.budget_nano is None else _dollars(key.budget_nano),
        "key_spent": _dollars(key.spent_nano),
    }


def _dollars(amount: int) -> orjson.Fragment:
    """A JSON number with every digit."""
    text = f"{Decimal(amount) / NANO:f}"
    return orjson.Fragment(text.rstrip("0").rstrip(".") if "." in text else text)
