"""/v2/customer/keys: an account's keys, for whoever has its superkey. /v2/tiers: what each tier allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar

import orjson
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from coordinator.api.answers import json_response
from coordinator.api.body import read_body
from coordinator.api.key_bodies import (
    CreateKeyRequest,
    KeyDeleted,
    KeyList,
    KeyRow,
    TopupKeyRequest,
    UpdateKeyRequest,
    nano,
    row_of,
)
from coordinator.api.limits import Gate
from coordinator.api.openapi import body_extra
from coordinator.api.ports import KeyRing
from coordinator.api.requests import refusal
from coordinator.api.responses import Failed, TierList
from coordinator.errors import CredentialNotPermitted, KeyNotFound, MissingCredentials
from coordinator.lifecycle.caller import Caller, Tier
from coordinator.lifecycle.keys import KEY_ID, Key, KeyChanges, KeyQuery, NewKey, Restrictions
from coordinator.lifecycle.tiers import TierLimits

PATH: Final = "/v2/customer/keys"
_MAX_BODY: Final = 256 * 1024
_MAX_LIMIT: Final = 1000

Body = TypeVar("Body", bound=BaseModel)
Responses = dict[int | str, dict[str, Any]]
_REFUSED: Final[Responses] = {
    400: {"model": Failed, "description": "A key in the URL, or not possible as the key stands"},
    401: {"model": Failed, "description": "No superkey, or a bad one"},
    403: {"model": Failed, "description": "The key is no superkey, or the account has as many keys as it may"},
    422: {"model": Failed, "description": "Not as the schema has it"},
}
_NOT_FOUND: Final[Responses] = {404: {"model": Failed, "description": "The account has no such key"}}

Limit = Annotated[int, Query(ge=1, le=_MAX_LIMIT)]
Status = Annotated[Literal["active", "revoked"] | None, Query()]
Named = Annotated[str | None, Query(max_length=100)]
Kind = Annotated[bool | None, Query(description="Superkeys alone, or none of them")]
Cursor = Annotated[str | None, Query(pattern=KEY_ID.pattern, description="The `next_cursor` of the page before")]
Id = Annotated[str, Path(description="The key's public id, `key_…`; never the key itself")]


@dataclass(frozen=True, slots=True)
class KeyDesk:
    """Behind the routes: each does what it does for the account of the superkey that the request came with."""

    ring: KeyRing
    gate: Gate
    tiers: Mapping[Tier, TierLimits]

    async def superkey(self, request: Request) -> tuple[Caller, str]:
        """Whose it is, and his account. Raises MissingCredentials, CredentialNotPermitted, or as identify."""
        caller = await self.gate.identify(request.scope)
        if caller.key_id is None:
            raise MissingCredentials("Keys are managed with a superkey: send it as X-API-Key or Bearer token.")
        if not caller.superkey or caller.account is None:
            raise CredentialNotPermitted("Keys are managed with a superkey; this is an ordinary key.")
        return caller, caller.account

    async def listed(self, request: Request, query: KeyQuery) -> Response:
        caller, account = await self.superkey(request)
        page = await self.ring.page(account, query)
        body = {
            "total": page.total,
            "max_allowed": self.tiers[caller.tier].max_keys,
            "limit": query.limit,
            "has_more": page.next_cursor is not None,
            "next_cursor": page.next_cursor,
            "keys": [row_of(key) for key in page.keys],
        }
        return json_response(orjson.dumps(body))

    async def created(self, request: Request) -> Response:
        caller, account = await self.superkey(request)
        asked = await _read(CreateKeyRequest, request)
        limits = self.tiers[caller.tier]
        restrictions = _within(limits, asked.restrictions.known() if asked.restrictions else Restrictions())
        budget = None if asked.key_budget is None else nano(asked.key_budget)
        new = NewKey(asked.name, account, caller.tier, restrictions=restrictions, budget_nano=budget)
        full, key = await self.ring.create(new, limits.max_keys)
        return _answer(key, status=201, full=full)

    async def changed(self, request: Request, key_id: str) -> Response:
        caller, account = await self.superkey(request)
        asked = await _read(UpdateKeyRequest, request)
        given = asked.model_fields_set
        restrictions = asked.restrictions.known() if asked.restrictions else Restrictions()
        changes = KeyChanges(
            name=asked.name,
            restrictions=_within(self.tiers[caller.tier], restrictions) if "restrictions" in given else None,
            budget_nano=None if asked.key_budget is None else nano(asked.key_budget),
            no_budget="key_budget" in given and asked.key_budget is None,
        )
        return _answer(await self.ring.change(account, _known(key_id), changes))

    async def topped_up(self, request: Request, key_id: str) -> Response:
        _, account = await self.superkey(request)
        asked = await _read(TopupKeyRequest, request)
        return _answer(await self.ring.top_up(account, _known(key_id), nano(asked.amount)))

    async def revoked(self, request: Request, key_id: str) -> Response:
        _, account = await self.superkey(request)
        return _answer(await self.ring.revoke(account, _known(key_id)))

    async def unrevoked(self, request: Request, key_id: str) -> Response:
        _, account = await self.superkey(request)
        return _answer(await self.ring.unrevoke(account, _known(key_id)))

    async def deleted(self, request: Request, key_id: str) -> Response:
        _, account = await self.superkey(request)
        await self.ring.delete(account, _known(key_id))
        return json_response(orjson.dumps({"key_id": key_id, "deleted": True}))

    async def tier_list(self, request: Request) -> Response:
        caller = await self.gate.identify(request.scope)
        rows = [_tier_row(tier, limits) for tier, limits in self.tiers.items()]
        return json_response(orjson.dumps({"tiers": rows, "current_tier": caller.tier}))


def key_routes(ring: KeyRing, gate: Gate, tiers: Mapping[Tier, TierLimits]) -> APIRouter:
    router, desk = APIRouter(tags=["Keys"]), KeyDesk(ring, gate, tiers)
    row: Responses = {200: {"model": KeyRow}, **_REFUSED, **_NOT_FOUND}

    @router.get(PATH, responses={200: {"model": KeyList}, **_REFUSED, **_NOT_FOUND}, summary="The account's keys")
    async def customer_keys_list(
        request: Request,
        limit: Limit = 100,
        status: Status = None,
        name: Named = None,
        name_prefix: Named = None,
        is_superkey: Kind = None,
        starting_after: Cursor = None,
    ) -> Response:
        return await desk.listed(request, KeyQuery(limit, status, name, name_prefix, is_superkey, starting_after))

    made: Responses = {201: {"model": KeyRow, "description": "The full key, this once"}, **_REFUSED}

    @router.post(
        PATH, status_code=201, responses=made, openapi_extra=body_extra(CreateKeyRequest), summary="Make a key"
    )
    async def customer_keys_create(request: Request) -> Response:
        return await desk.created(request)

    change = body_extra(UpdateKeyRequest)

    @router.patch(f"{PATH}/{{key_id}}", responses=row, openapi_extra=change, summary="Change a key")
    async def customer_keys_update(request: Request, key_id: Id) -> Response:
        return await desk.changed(request, key_id)

    @router.post(f"{PATH}/{{key_id}}/revoke", responses=row, summary="Refuse a key from now on")
    async def customer_keys_revoke(request: Request, key_id: Id) -> Response:
        return await desk.revoked(request, key_id)

    @router.post(f"{PATH}/{{key_id}}/unrevoke", responses=row, summary="Take a revoked key back into use")
    async def customer_keys_unrevoke(request: Request, key_id: Id) -> Response:
        return await desk.unrevoked(request, key_id)

    topup = body_extra(TopupKeyRequest)

    @router.post(f"{PATH}/{{key_id}}/topup", responses=row, openapi_extra=topup, summary="Add to a key's budget")
    async def customer_keys_topup(request: Request, key_id: Id) -> Response:
        return await desk.topped_up(request, key_id)

    gone: Responses = {200: {"model": KeyDeleted}, **_REFUSED, **_NOT_FOUND}

    @router.delete(f"{PATH}/{{key_id}}", responses=gone, summary="Delete a revoked key")
    async def customer_keys_delete(request: Request, key_id: Id) -> Response:
        return await desk.deleted(request, key_id)

    no_key: Responses = {401: {"model": Failed, "description": "A bad key"}}

    @router.get("/v2/tiers", responses={200: {"model": TierList}, **no_key}, summary="What each tier allows")
    async def list_tiers(request: Request) -> Response:
        return await desk.tier_list(request)

    return router


async def _read(kind: type[Body], request: Request) -> Body:
    """Raises InvalidRequest that echoes nothing."""
    body = await read_body(request.scope["headers"], request.receive, _MAX_BODY)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise refusal([item | {"loc": ("body", *item["loc"])} for item in found]) from None


def _within(tier: TierLimits, restrictions: Restrictions) -> Restrictions:
    """A customer's key may be kept shorter than its tier, not longer. Raises InvalidRequest."""
    most = {"opengpu": tier.opengpu, "direct": tier.direct, "global": tier.overall, "concurrent": tier.concurrent}
    over = [
        {
            "type": "above_tier",
            "loc": ("body", "restrictions", "rate_limits", name),
            "msg": f"must be at most {most[name]}, as your tier has it",
        }
        for name, limit in restrictions.rate_limits.items()
        if limit > most[name]
    ]
    if over:
        raise refusal(over)
    return restrictions


def _known(key_id: str) -> str:
    if not KEY_ID.fullmatch(key_id):
        raise KeyNotFound("key_id: no key has this id: it reads key_ and 16 hexadecimal digits.")
    return key_id


def _answer(key: Key, *, status: int = 200, full: str | None = None) -> Response:
    return json_response(orjson.dumps(row_of(key, full)), status=status)


def _tier_row(tier: Tier, limits: TierLimits) -> dict[str, Any]:
    rates = {"opengpu": limits.opengpu, "direct": limits.direct, "global": limits.overall}
    return {
        "tier": tier,
        "model_restrictions": limits.model_restrictions,
        "rate_limits": rates,
        "concurrent_tasks": limits.concurrent,
        "max_keys": limits.max_keys,
    }
