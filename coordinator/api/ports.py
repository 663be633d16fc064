"""What the API needs of the rest of the coordinator. `tests/fakes/relay.py` and `upstream.py` implement all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from coordinator.errors import RelayError
from coordinator.lifecycle.caller import Admitted, Caller, Credential
from coordinator.lifecycle.idempotency import Ask, Turn
from coordinator.lifecycle.keys import Key, KeyChanges, KeyPage, KeyQuery, NewKey
from coordinator.lifecycle.money import Bill, Tokens
from coordinator.lifecycle.order import Claim, Mode, Order
from coordinator.lifecycle.task import TaskPage, TaskView
from coordinator.lifecycle.usage import Balance, KeyBudget, Usage
from coordinator.lifecycle.webhooks import Delivery, DeliveryPage, DeliveryState, SigningSecret
from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.ids import TaskId


class Relay(Protocol):
    """Tasks, whatever mode they are in. Every method may raise StoreUnavailable."""

    async def submit(self, order: Order, task_id: TaskId | None = None) -> TaskView:
        """Durable when it returns. Raises ProviderUnavailable or CapacityExhausted for what would wait for nothing.

        With a `task_id` that is there already, that task. Raises IdempotencyInProgress when the claim was lost.
        """
        ...

    async def read(self, task_id: TaskId) -> TaskView:
        """Raises TaskNotFound, or TaskExpired for an id that once was."""
        ...

    async def listed(self, caller: str, after: TaskId | None, limit: int) -> TaskPage:
        """The tasks of a key, newest first. Raises TaskNotFound when `after` is none of them."""
        ...

    async def cancel(self, task_id: TaskId, caller: str) -> TaskView:
        """The task as it stands then. Raises as read, and CredentialNotPermitted for another key's task."""
        ...

    async def wait(self, task_id: TaskId, timeout: timedelta) -> TaskView:
        """As read, but returns only when the task has ended or the time is up."""
        ...

    async def proof(self, task_id: TaskId) -> dict[str, Any]:
        """All that a stranger needs to check the task against the chain. Raises as read."""
        ...

    async def keep(self, task_id: TaskId, order: Order, started_at: datetime, outcome: bytes | RelayError) -> None:
        """Stores a synchronous direct call that has ended, so that it can be polled like any task.

        Raises IdempotencyInProgress when the claim was lost.
        """
        ...

    async def opengpu_models(self) -> set[str]:
        """The models that a live node serves now."""
        ...

    async def ready(self) -> bool:
        """Whether new work can be accepted."""
        ...


class KeyBook(Protocol):
    """Each call is one round trip. Every method may raise InvalidApiKey, KeyRevoked, StoreUnavailable."""

    async def identify(self, credential: Credential) -> Caller:
        """Who it is; nothing is counted."""
        ...

    async def admit(self, credential: Credential, choices: Mapping[Mode, str], call: str = "") -> Admitted:
        """Counts one request in the first of `choices` (mode: scope) that the caller may use.

        A `call` is one that is waited for: a direct one takes up room until it is said to have `ended`.

        Raises ScopeDenied, ModelNotAvailable, RateLimited; then nothing was counted.
        """
        ...

    def ended(self, caller_id: str, call: str) -> None: ...


class Claims(Protocol):
    """Idempotency-Keys. Every method with a round trip may raise StoreUnavailable."""

    async def claim(self, ask: Ask, joined: TaskId | None = None) -> Turn:
        """Whether it is this request's to run. `joined`: a direct call it has waited for, whose end is its answer."""
        ...

    def settle(self, claim: Claim) -> None:
        """There is a task, and the claim needs no more keeping alive."""
        ...

    async def release(self, claim: Claim) -> None:
        """Nothing came of it, as far as is known: a retry may try. A task that is there after all keeps its claim."""
        ...

    async def ended(self, task_id: TaskId, timeout: timedelta) -> None:
        """Returns when a direct call may have ended, or when time is up."""
        ...


class KeyRing(Protocol):
    """An account's keys. Raises KeyNotFound for those of others, and StoreUnavailable."""

    async def create(self, new: NewKey, most: int | None = None) -> tuple[str, Key]:
        """The full key, and what is kept of it. Raises KeyLimitReached."""
        ...

    async def page(self, account: str, query: KeyQuery) -> KeyPage: ...
    async def change(self, account: str, key_id: str, changes: KeyChanges) -> Key: ...
    async def revoke(self, account: str, key_id: str) -> Key: ...
    async def unrevoke(self, account: str, key_id: str) -> Key: ...
    async def top_up(self, account: str, key_id: str, nano: int) -> Key:
        """Raises InvalidRequest above what a budget may hold."""
        ...

    async def delete(self, account: str, key_id: str) -> None:
        """Raises InvalidRequest (400) for one that is not revoked."""
        ...


class WebhookTargets(Protocol):
    """Where a webhook may go. Both raise InvalidRequest (422) that names `webhook_url`."""

    def receiver(self, url: str) -> str:
        """Host and port, once the URL itself is good."""
        ...

    async def resolve(self, url: str) -> None:
        """Whether its host exists and is public. Asks name servers, for a while at most."""
        ...


class WebhookDeliveries(Protocol):
    """An account's. Raises WebhookDeliveryNotFound for those of others, and StoreUnavailable."""

    async def listed(
        self, account: str, after: TaskId | None, limit: int, state: DeliveryState | None = None
    ) -> DeliveryPage: ...
    async def read(self, account: str, task_id: TaskId) -> Delivery: ...
    async def redeliver(self, account: str, task_id: TaskId) -> Delivery:
        """Raises InvalidRequest (400) when the task has not ended."""
        ...

    async def secret(self, account: str) -> SigningSecret:
        """Made when there is none."""
        ...

    async def rotate(self, account: str, keep: timedelta) -> SigningSecret: ...


class Purse(Protocol):
    """What calls cost. Every method is one round trip and may raise StoreUnavailable."""

    @property
    def hold_for(self) -> timedelta:
        """How long what is set aside stays so without a word of the call."""
        ...

    async def reserve(self, task_id: TaskId, bill: Bill) -> None:
        """Sets aside what a direct call can cost. Raises KeyBudgetExhausted, InsufficientCredits."""
        ...

    async def renew(self, task_id: TaskId) -> None:
        """The call is still running."""
        ...

    async def settle(self, task_id: TaskId, bill: Bill, tokens: Tokens | None) -> None:
        """Charges and counts a call of which no task is kept, once; None lets go of what was set aside."""
        ...

    async def balance(self, account: str) -> Balance: ...

    async def budget(self, key_id: str) -> KeyBudget: ...

    async def usage(self, account: str, first: date, last: date) -> list[Usage]:
        """From the first day to the last, both included; UTC."""
        ...


class FrameStream(Protocol):
    """The server-sent events of one streamed answer, each whole, as they come. The first one is there already.

    The last is `data: [DONE]`, or an error frame when the upstream didn't get that far.
    """

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None:
        """Hangs up on the upstream, which stops generating. Harmless when the stream has ended."""
        ...


class Upstreams(Protocol):
    """Direct mode's model servers. Cancelling a call cancels it upstream. All raise RelayError with what went wrong."""

    async def complete(self, model: str, request: bytes, path: Endpoint) -> bytes:
        """The body of the answer, as the upstream sent it."""
        ...

    async def stream(self, model: str, request: bytes, path: Endpoint) -> FrameStream:
        """Returns once the first frame has come, so that every failure before it is an exception."""
        ...
