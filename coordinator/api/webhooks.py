"""Webhooks: `webhook_url` of a request, and /v2/customer/webhooks, an account's deliveries and its signing secret."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from coordinator.api.answers import json_response
from coordinator.api.limits import Gate
from coordinator.api.ports import WebhookDeliveries, WebhookTargets
from coordinator.api.requests import RelayRequest, invalid
from coordinator.api.responses import Failed, WebhookDelivery, WebhookDeliveryList, WebhookSecret
from coordinator.errors import CredentialNotPermitted, MissingCredentials, WebhookDeliveryNotFound
from coordinator.lifecycle.caller import Caller, Credential
from coordinator.lifecycle.webhooks import Delivery, DeliveryState, SigningSecret, Webhook, message_id, task_of
from coordinator.protocol.ids import TASK_ID, TaskId

PATH: Final = "/v2/customer/webhooks"
_DEFAULT_OVERLAP_S: Final = 86_400
_LONGEST_OVERLAP_S: Final = 7 * 86_400

Responses = dict[int | str, dict[str, Any]]
_REFUSED: Final[Responses] = {
    401: {"model": Failed, "description": "No superkey, or a bad one"},
    403: {"model": Failed, "description": "The key is no superkey"},
    422: {"model": Failed, "description": "Not as the schema has it"},
}
_UNKNOWN: Final[Responses] = {404: {"model": Failed, "description": "The account has no such delivery"}}
_EARLY: Final[Responses] = {400: {"model": Failed, "description": "The task has not ended"}}

Limit = Annotated[int, Query(ge=1, le=100)]
Status = Annotated[DeliveryState | None, Query()]
Cursor = Annotated[str | None, Query(max_length=100, description="The `next_cursor` of the page before")]
Id = Annotated[str, Path(description="`msg_` and the task's id, as in the header webhook-id; the task's id will do")]
Overlap = Annotated[
    int, Query(ge=0, le=_LONGEST_OVERLAP_S, description="Seconds for which the secret before goes on signing too")
]


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What the API needs of the rest for webhooks."""

    targets: WebhookTargets
    deliveries: WebhookDeliveries


@dataclass(frozen=True, slots=True)
class Hooks:
    """A request's wish to be told of its task's end. `targets` None: this relay tells nobody."""

    targets: WebhookTargets | None = None

    def look(self, asked: RelayRequest, who: Credential) -> None:
        """All that can be said without asking anybody. Raises InvalidRequest (422, 400), MissingCredentials."""
        if asked.webhook_url is None:
            return
        if self.targets is None:
            message = "this relay does not deliver webhooks; leave it out and poll the task"
            raise invalid("webhook_url", "not_offered", message, status=400)
        self.targets.receiver(asked.webhook_url)
        if not asked.asynchronous:
            raise invalid("webhook_url", "needs_async", "is possible with async: true alone", status=400)
        if who.api_key is None:
            raise MissingCredentials("webhook_url: a webhook needs an API key, whose account's secret signs it.")

    async def accepted(self, asked: RelayRequest, caller: Caller) -> Webhook | None:
        """Once the request is let in: name servers are asked for nobody else. Raises InvalidRequest (422)."""
        if asked.webhook_url is None or self.targets is None:
            return None
        await self.targets.resolve(asked.webhook_url)
        receiver = self.targets.receiver(asked.webhook_url)
        return Webhook(asked.webhook_url, receiver, caller.account or caller.id)


@dataclass(frozen=True, slots=True)
class WebhookDesk:
    """Behind the routes: each does what it does for the account of the superkey that the request came with."""

    deliveries: WebhookDeliveries
    gate: Gate

    async def account(self, request: Request) -> str:
        """Raises MissingCredentials, CredentialNotPermitted, or as identify."""
        caller = await self.gate.identify(request.scope)
        if caller.key_id is None:
            raise MissingCredentials("Webhooks are managed with a superkey: send it as X-API-Key or Bearer token.")
        if not caller.superkey or caller.account is None:
            raise CredentialNotPermitted("Webhooks are managed with a superkey; this is an ordinary key.")
        return caller.account

    async def listed(self, request: Request, limit: int, state: DeliveryState | None, after: str | None) -> Response:
        account = await self.account(request)
        page = await self.deliveries.listed(account, _known(after) if after else None, limit, state)
        cursor = message_id(page.cursor) if page.cursor else None
        more = {"limit": limit, "has_more": cursor is not None, "next_cursor": cursor}
        return json_response(orjson.dumps({"deliveries": [_row(delivery) for delivery in page.deliveries], **more}))

    async def read(self, request: Request, delivery_id: str) -> Response:
        account = await self.account(request)
        return _answer(await self.deliveries.read(account, _known(delivery_id)))

    async def redelivered(self, request: Request, delivery_id: str) -> Response:
        account = await self.account(request)
        return _answer(await self.deliveries.redeliver(account, _known(delivery_id)), status=202)

    async def secret(self, request: Request) -> Response:
        return _secret(await self.deliveries.secret(await self.account(request)))

    async def rotated(self, request: Request, overlap: int) -> Response:
        account = await self.account(request)
        return _secret(await self.deliveries.rotate(account, timedelta(seconds=overlap)))


def webhook_routes(deliveries: WebhookDeliveries, gate: Gate) -> APIRouter:
    router, desk = APIRouter(prefix=PATH, tags=["Webhooks"]), WebhookDesk(deliveries, gate)
    shown: Responses = {200: {"model": WebhookSecret}, **_REFUSED}

    @router.get("/secret", responses=shown, summary="The account's signing secret; the first time, it is made")
    async def webhook_secret(request: Request) -> Response:
        return await desk.secret(request)

    @router.post("/secret/rotate", responses=shown, summary="Make a new signing secret")
    async def webhook_secret_rotate(request: Request, previous_valid_seconds: Overlap = _DEFAULT_OVERLAP_S) -> Response:
        return await desk.rotated(request, previous_valid_seconds)

    page: Responses = {200: {"model": WebhookDeliveryList}, **_REFUSED, **_UNKNOWN}

    @router.get("/deliveries", responses=page, summary="The account's deliveries, newest first")
    async def webhook_deliveries_list(
        request: Request, limit: Limit = 20, status: Status = None, starting_after: Cursor = None
    ) -> Response:
        return await desk.listed(request, limit, status, starting_after)

    row: Responses = {200: {"model": WebhookDelivery}, **_REFUSED, **_UNKNOWN}

    @router.get("/deliveries/{delivery_id}", responses=row, summary="One delivery")
    async def webhook_delivery(request: Request, delivery_id: Id) -> Response:
        return await desk.read(request, delivery_id)

    again: Responses = {202: {"model": WebhookDelivery}, **_REFUSED, **_UNKNOWN, **_EARLY}

    @router.post(
        "/deliveries/{delivery_id}/redeliver", status_code=202, responses=again, summary="Deliver at once, or once more"
    )
    async def webhook_redeliver(request: Request, delivery_id: Id) -> Response:
        return await desk.redelivered(request, delivery_id)

    return router


def _known(delivery_id: str) -> TaskId:
    task_id = task_of(delivery_id)
    if not TASK_ID.fullmatch(task_id):
        raise WebhookDeliveryNotFound("delivery_id: no delivery has this id: it reads msg_ and a task's id.")
    return TaskId(task_id)


def _answer(delivery: Delivery, *, status: int = 200) -> Response:
    return json_response(orjson.dumps(_row(delivery)), status=status)


def _row(delivery: Delivery) -> dict[str, Any]:
    return {
        "delivery_id": delivery.delivery_id,
        "task_id": delivery.task_id,
        "event": delivery.event,
        "status": delivery.state,
        "url": delivery.url,
        "attempts": delivery.attempts,
        "response_status": delivery.response_status,
        "error": delivery.error,
        "created_at": _moment(delivery.created_at),
        "next_attempt_at": _moment(delivery.next_at),
        "last_attempt_at": _moment(delivery.last_at),
        "delivered_at": _moment(delivery.delivered_at),
    }


def _secret(secret: SigningSecret) -> Response:
    body = {
        "secret": secret.current,
        "created_at": _moment(secret.created_at),
        "previous_valid_until": _moment(secret.previous_until),
    }
    return json_response(orjson.dumps(body), headers={"Cache-Control": "no-store"})


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="microseconds") if moment else None
