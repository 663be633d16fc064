"""/v2/customer/usage and /v2/customer/credits: what was used, and what is left. Money is exact decimals as text.

A superkey sees its account; an ordinary key sees itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, cast

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from coordinator.api.answers import json_response
from coordinator.api.limits import Gate
from coordinator.api.ports import Purse
from coordinator.api.requests import refusal
from coordinator.api.responses import Failed
from coordinator.errors import CredentialNotPermitted, MissingCredentials
from coordinator.lifecycle.caller import Caller
from coordinator.lifecycle.keys import KEY_ID
from coordinator.lifecycle.money import dollars
from coordinator.lifecycle.usage import EVERYTHING, By, Usage, grouped

MAX_DAYS: Final = 366
_DAYS: Final = 30  # when `from` is not given
_FIRST: Final = date(2000, 1, 1)
_LAST: Final = date(2999, 12, 31)
_ALL: Final = ",".join(EVERYTHING)
_KEYS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": Failed, "description": "No key, or a bad one"},
    403: {"model": Failed, "description": "Another key's usage is for the superkey alone"},
    422: {"model": Failed, "description": "Not as the parameters have it"},
}

KeyId = Annotated[str | None, Query(pattern=KEY_ID.pattern, description="Of this key alone")]
From = Annotated[
    date | None, Query(alias="from", ge=_FIRST, le=_LAST, description="First day, UTC; 30 days by default")
]
To = Annotated[date | None, Query(ge=_FIRST, le=_LAST, description="Last day, UTC, included; today by default")]
GroupBy = Annotated[
    str,
    Query(
        pattern="^(day|key|model|mode)(,(day|key|model|mode)){0,3}$",
        description="One row for each of these; some of day, key, model, mode, separated by commas",
    ),
]


class UsageTotal(BaseModel):
    """Completed requests. `cost`: US dollars charged for them, exact; "0" where there is no billing. Tokens of opengpu
    tasks are as the coordinator has counted them; `usage` in an answer is the node's own word, signed by it."""

    requests: int
    input_tokens: int
    output_tokens: int
    cost: str


class UsageRow(UsageTotal):
    """What is not grouped by is left out. `model` is `{source}.{name}`, as in the prices."""

    day: date | None = None
    key_id: str | None = None
    model: str | None = None
    mode: str | None = None


class UsageReport(BaseModel):
    """`first` to `last` day, both included."""

    first: date
    last: date
    group_by: list[str]
    currency: str
    usage: list[UsageRow]
    total: UsageTotal


class AccountCredits(BaseModel):
    """`paid` in = `left` + `held` for requests that run + `spent`."""

    paid: str
    left: str
    held: str
    spent: str


class KeyCredits(BaseModel):
    """`budget` and `left` null: as much as the account has."""

    key_id: str
    budget: str | None
    left: str | None
    held: str
    spent: str


class Credits(BaseModel):
    """`billing` false: nothing is charged here. `credits`: the account's, for its superkey alone."""

    billing: bool
    currency: str
    credits: AccountCredits | None
    key: KeyCredits


@dataclass(frozen=True, slots=True)
class Accounts:
    """Behind the routes."""

    purse: Purse
    gate: Gate
    billing: bool

    async def caller(self, request: Request) -> tuple[Caller, str, str]:
        """He, his key and his account. Raises MissingCredentials, or as identify."""
        caller = await self.gate.identify(request.scope)
        if caller.key_id is None or caller.account is None:
            raise MissingCredentials("Usage and credits are a key's, a guest has none: send an API key.")
        return caller, caller.key_id, caller.account

    async def usage(self, request: Request, first: date, last: date, key_id: str | None, by: list[By]) -> UsageReport:
        caller, own, account = await self.caller(request)
        if not caller.superkey and key_id not in (None, own):
            raise CredentialNotPermitted("key_id: another key's usage is for the account's superkey alone.")
        wanted = key_id if caller.superkey else own
        found = [row for row in await self.purse.usage(account, first, last) if wanted in (None, row.key_id)]
        return UsageReport(
            first=first,
            last=last,
            group_by=list(by),
            currency="USD",
            usage=[UsageRow(**_numbers(row), **_names(row)) for row in grouped(found, by)],
            total=UsageTotal(**_total(found)),
        )

    async def credits(self, request: Request) -> Credits:
        caller, own, account = await self.caller(request)
        sums = None
        if caller.superkey:
            balance = await self.purse.balance(account)
            sums = AccountCredits(
                paid=dollars(balance.paid),
                left=dollars(balance.left),
                held=dollars(balance.held),
                spent=dollars(balance.spent),
            )
        mine = await self.purse.budget(own)
        left = None if mine.budget is None else dollars(mine.budget - mine.held - mine.spent)
        budget = None if mine.budget is None else dollars(mine.budget)
        key = KeyCredits(key_id=own, budget=budget, left=left, held=dollars(mine.held), spent=dollars(mine.spent))
        return Credits(billing=self.billing, currency="USD", credits=sums, key=key)


def usage_routes(purse: Purse, gate: Gate, *, billing: bool) -> APIRouter:
    router, accounts = APIRouter(tags=["Usage"]), Accounts(purse, gate, billing)

    @router.get(
        "/v2/customer/usage", responses={200: {"model": UsageReport}, **_KEYS}, summary="Usage by day, key, model, mode"
    )
    async def read_usage(
        request: Request,
        key_id: KeyId = None,
        first: From = None,
        to: To = None,
        group_by: GroupBy = _ALL,
    ) -> Response:
        days, by = _days(first, to), cast(list[By], list(dict.fromkeys(group_by.split(","))))
        return _answer(await accounts.usage(request, *days, key_id, by))

    @router.get(
        "/v2/customer/credits",
        responses={200: {"model": Credits}, **_KEYS},
        summary="What is left of credits and budget",
    )
    async def read_credits(request: Request) -> Response:
        return _answer(await accounts.credits(request))

    return router


def _answer(body: BaseModel) -> Response:
    return json_response(orjson.dumps(body.model_dump(exclude_unset=True)))


def _days(first: date | None, last: date | None) -> tuple[date, date]:
    """Raises InvalidRequest."""
    last = last or datetime.now(UTC).date()
    first = first or last - timedelta(days=_DAYS - 1)
    if not 0 <= (last - first).days < MAX_DAYS:
        message = f"must lie before to, at most {MAX_DAYS} days with it"
        raise refusal([{"loc": ("query", "from"), "type": "range", "msg": message}])
    return first, last


def _total(rows: Iterable[Usage]) -> dict[str, Any]:
    total = Usage(None, None, None, None)
    for row in rows:
        total = total.plus(row)
    return _numbers(total)


def _numbers(row: Usage) -> dict[str, Any]:
    return {
        "requests": row.requests,
        "input_tokens": row.prompt_tokens,
        "output_tokens": row.completion_tokens,
        "cost": dollars(row.nano),
    }


def _names(row: Usage) -> dict[str, Any]:
    named = {"day": row.day, "key_id": row.key_id, "model": row.model, "mode": row.mode}
    return {name: value for name, value in named.items() if value is not None}
