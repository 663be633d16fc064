"""Accounts, holds, ledgers and usage; `lua/money_prelude.lua` says what Redis holds of them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal, cast

from redis.asyncio import Redis

from coordinator.errors import InsufficientCredits, InvalidRequest, KeyBudgetExhausted, RelayError
from coordinator.lifecycle.keys import MAX_BUDGET_NANO
from coordinator.lifecycle.money import Bill, Tokens, dollars
from coordinator.lifecycle.usage import Balance, Entry, KeyBudget, Usage
from coordinator.protocol.ids import TaskId
from coordinator.store.scripts import Scripts, milliseconds, texts, unavailable

_EPOCH: Final = date(1970, 1, 1)
_REMEDY: Final = "Ask for fewer max_tokens or choices, or"


class Purse:
    """What is set aside, charged and counted. Raises StoreUnavailable when Redis can't be reached.

    `hold_for`: a direct call whose process is gone lets go of its money after that.
    """

    def __init__(self, redis: Redis, scripts: Scripts, hold_for: timedelta = timedelta(minutes=15)) -> None:
        self._redis, self._scripts, self._hold_for = redis, scripts, hold_for

    @property
    def hold_for(self) -> timedelta:
        return self._hold_for

    async def reserve(self, task_id: TaskId, bill: Bill) -> None:
        """Before a direct call runs. Raises KeyBudgetExhausted, InsufficientCredits: nothing was set aside then."""
        what, *left = await self._scripts.call("money_reserve", task_id, milliseconds(self._hold_for), *billed(bill))
        if unaffordable := too_dear(what, bill, left):
            raise unaffordable

    async def renew(self, task_id: TaskId) -> None:
        """It is still running."""
        await self._scripts.call("money_renew", task_id, milliseconds(self._hold_for))

    async def settle(self, task_id: TaskId, bill: Bill, tokens: Tokens | None) -> None:
        """The end of a call of which no task is kept; None: it came to nothing and costs nothing. Once is all."""
        used = tokens or Tokens(0, 0)
        completed = "0" if tokens is None else "1"
        await self._scripts.call("money_settle", task_id, completed, used.prompt, used.completion, *billed(bill))

    async def credit(self, account: str, nano: int) -> int:
        """Pays in, or takes back; what is left then. Raises InvalidRequest for less than nothing and more than most."""
        nonce = secrets.token_hex(16)  # a lost answer is asked for again: it must not pay in twice
        what, left = await self._scripts.call("money_credit", account, nano, MAX_BUDGET_NANO, nonce)
        if what != b"OK":
            bound = "nothing would be left" if what == b"too_little" else f"{dollars(MAX_BUDGET_NANO)} is the most"
            raise InvalidRequest(f"amount: {account} has {dollars(int(left))} US dollars now; {bound}")
        return int(left)

    async def balance(self, account: str) -> Balance:
        with unavailable():
            names = ("paid_nano", "left_nano", "held_nano", "spent_nano")
            row = await self._redis.hmget(f"relay:account:{account}", *names)
        return Balance(*(int(value or 0) for value in row))

    async def budget(self, key_id: str) -> KeyBudget:
        with unavailable():
            digest = cast(bytes | None, await self._redis.get(f"relay:keyid:{key_id}"))
            key = f"relay:key:{digest.decode() if digest else ''}"
            budget, held, spent = await self._redis.hmget(key, "budget_nano", "held_nano", "spent_nano")
        return KeyBudget(int(budget) if budget is not None else None, int(held or 0), int(spent or 0))

    async def entries(self, account: str, last: int | None = None) -> list[Entry]:
        """An account's ledger, the oldest first; of the `last` ones."""
        with unavailable():
            found = await self._redis.xrevrange(f"relay:ledger:{account}", count=last)
        rows = cast(list[tuple[bytes, dict[bytes | str, bytes | str]]], found)
        return [_entry(entry_id.decode(), texts(row)) for entry_id, row in reversed(rows)]

    async def usage(self, account: str, first: date, last: date) -> list[Usage]:
        """Of the days from `first` to `last`, both of them included; UTC."""
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        with unavailable():
            pipe = self._redis.pipeline(transaction=False)
            for day in days:
                pipe.hgetall(f"relay:usage:{account}:{(day - _EPOCH).days}")
            rows = await pipe.execute()
        return [usage for day, row in zip(days, rows, strict=True) for usage in _usages(day, texts(row))]


def billed(bill: Bill | None) -> tuple[str | int, ...]:
    """As `bill_at` in lua/money_prelude.lua takes it."""
    if bill is None:
        return ("",)
    most, price = bill.most, bill.price
    whose = (bill.account, bill.key_id, bill.mode, bill.model)
    return (*whose, price.prompt, price.completion, most.prompt, most.completion, bill.amount)


def too_dear(what: bytes, bill: Bill, left: Sequence[bytes]) -> RelayError | None:
    """Why the store set nothing aside, or None when that is not what it said."""
    cost = f"The request may cost up to {dollars(bill.amount)} US dollars"
    if what == b"budget":
        return KeyBudgetExhausted(
            f"{cost}, and {dollars(int(left[0]))} is left of the key's budget. {_REMEDY} have the budget raised."
        )
    if what == b"credits":
        return InsufficientCredits(f"{cost}, and the account has less left. {_REMEDY} have it credited.")
    return None


def _entry(entry_id: str, row: Mapping[str, str]) -> Entry:
    return Entry(
        at=datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, UTC),
        kind=cast(Literal["credit", "charge"], row["kind"]),
        nano=int(row["nano"]),
        task_id=row.get("task"),
        key_id=row.get("key"),
        mode=row.get("mode"),
        model=row.get("model"),
        prompt_tokens=int(row.get("in", "0")),
        completion_tokens=int(row.get("out", "0")),
    )


def _usages(day: date, row: Mapping[str, str]) -> list[Usage]:
    found: dict[str, dict[str, int]] = {}
    for field, number in row.items():
        name, _, what = field.rpartition("\n")
        found.setdefault(name, {})[what] = int(number)
    return [_usage(day, name, numbers) for name, numbers in found.items()]


def _usage(day: date, name: str, numbers: Mapping[str, int]) -> Usage:
    key_id, mode, model = name.split("\n")
    return Usage(day, key_id, model, mode, numbers["requests"], numbers["in"], numbers["out"], numbers["nano"])
