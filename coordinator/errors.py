"""Every error a client can see: a class with its code, HTTP status, type, source and blame.

    RelayError
    ├── ClientFault            the request can't be served as it is; never retried, counts against no node
    │   ├── InvalidRequest 422/400/413 · UpstreamInvalidRequest 400
    │   ├── MissingCredentials · InvalidApiKey · KeyRevoked 401
    │   ├── KeyBudgetExhausted · InsufficientCredits 402
    │   ├── CredentialNotPermitted · KeyLimitReached · ModelNotAvailable · ScopeDenied 403
    │   ├── KeyNotFound · ModelNotFound · TaskNotFound · TaskExpired · WebhookDeliveryNotFound 404
    │   ├── IdempotencyInProgress 409 · TaskCanceled 410
    │   └── IdempotencyKeyReused 422
    ├── NodeFault              somebody took the work and failed
    │   └── UpstreamError 502 · UpstreamTimeout 504
    ├── NoCapacity             nobody could take it
    │   └── ProviderUnavailable 502 · CapacityExhausted · UpstreamRateLimited 429
    ├── CoordinatorFault       ours
    │   └── InternalError 500 · StoreUnavailable 503
    └── RateLimited 429        the caller's own limits

Codes and statuses are those of the Relay API v2; one code has one status, but for VALIDATION_ERROR (422, and 400 for
what is well-formed but impossible, and 413 for what is too large).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, Literal

from coordinator.protocol.report import Blame

if TYPE_CHECKING:
    from coordinator.lifecycle.caller import Allowance

ErrorType = Literal[
    "authentication", "authorization", "internal", "rate_limit", "schema", "timeout", "unavailable", "validation"
]
Source = Literal["client", "provider", "relay"]


class RelayError(Exception):
    """What went wrong, in words for the client: names the field and the remedy, holds no secret and no prompt."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: int = 500
    type: ClassVar[ErrorType] = "internal"
    source: ClassVar[Source] = "relay"
    blame: ClassVar[Blame] = Blame.COORDINATOR
    retry_after: timedelta | None = None

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.message = message
        if retry_after is not None:
            self.retry_after = retry_after


class ClientFault(RelayError):
    type: ClassVar[ErrorType] = "validation"
    source: ClassVar[Source] = "client"
    blame = Blame.CLIENT


class InvalidRequest(ClientFault):
    """`details` is FastAPI's list of {type, loc, msg} for a 422; the input itself is never echoed."""

    code = "VALIDATION_ERROR"
    status = 422

    def __init__(self, message: str, *, details: list[dict[str, object]] | None = None, status: int = 422) -> None:
        super().__init__(message)
        self.details = details
        self.status = status


class UpstreamInvalidRequest(ClientFault):
    """The model server refused the request as invalid (4xx); its message is passed on."""

    code = "UPSTREAM_INVALID_REQUEST"
    status = 400
    source = "provider"


class MissingCredentials(ClientFault):
    code = "MISSING_CREDENTIALS"
    status = 401
    type = "authentication"


class InvalidApiKey(ClientFault):
    code = "INVALID_API_KEY"
    status = 401
    type = "authentication"


class KeyRevoked(ClientFault):
    code = "KEY_REVOKED"
    status = 401
    type = "authentication"


class KeyBudgetExhausted(ClientFault):
    """What the request can cost at most is more than is left of the key's budget."""

    code = "KEY_BUDGET_EXHAUSTED"
    status = 402
    type = "authorization"


class InsufficientCredits(ClientFault):
    """As KeyBudgetExhausted, of the account."""

    code = "INSUFFICIENT_CREDITS"
    status = 402
    type = "authorization"


class CredentialNotPermitted(ClientFault):
    code = "CREDENTIAL_NOT_PERMITTED"
    status = 403
    type = "authorization"


class KeyLimitReached(ClientFault):
    code = "KEY_LIMIT_REACHED"
    status = 403
    type = "authorization"


class ModelNotAvailable(ClientFault):
    code = "MODEL_NOT_AVAILABLE"
    status = 403
    type = "authorization"


class ScopeDenied(ClientFault):
    """The key is restricted to other models than the one asked for."""

    code = "SCOPE_DENIED"
    status = 403
    type = "authorization"


class KeyNotFound(ClientFault):
    code = "KEY_NOT_FOUND"
    status = 404


class ModelNotFound(ClientFault):
    code = "MODEL_NOT_FOUND"
    status = 404


class TaskNotFound(ClientFault):
    code = "TASK_NOT_FOUND"
    status = 404


class TaskExpired(TaskNotFound):
    """Same code on the wire; `error_detail` TASK_EXPIRED tells it from an id that never was."""


class WebhookDeliveryNotFound(ClientFault):
    code = "WEBHOOK_DELIVERY_NOT_FOUND"
    status = 404


class TaskCanceled(ClientFault):
    """How a cancelled task ends. 410 and not 409: OpenAI's clients send a 409 again by themselves, and so the task."""

    code = "TASK_CANCELED"
    status = 410


class IdempotencyInProgress(ClientFault):
    """The first request with this key has not been accepted yet: what becomes of it isn't known."""

    code = "IDEMPOTENCY_IN_PROGRESS"
    status = 409
    retry_after = timedelta(seconds=1)


class IdempotencyKeyReused(ClientFault):
    """The key stands for another request of this caller's."""

    code = "IDEMPOTENCY_KEY_REUSED"
    status = 422


class NodeFault(RelayError):
    source = "provider"
    blame = Blame.NODE


class UpstreamError(NodeFault):
    code = "UPSTREAM_ERROR"
    status = 502
    type = "unavailable"


class UpstreamTimeout(NodeFault):
    code = "UPSTREAM_TIMEOUT"
    status = 504
    type = "timeout"


class NoCapacity(RelayError):
    type: ClassVar[ErrorType] = "unavailable"
    blame = Blame.CAPACITY


class ProviderUnavailable(NoCapacity):
    """Nobody could take it: no live node serves the model, or no upstream could be reached."""

    code = "PROVIDER_UNAVAILABLE"
    status = 502
    source = "provider"


class CapacityExhausted(NoCapacity):
    code = "CAPACITY_EXHAUSTED"
    status = 503
    retry_after = timedelta(seconds=5)


class UpstreamRateLimited(NoCapacity):
    """The upstream said 429 on every try; passed on as such."""

    code = "RATE_LIMITED"
    status = 429
    type = "rate_limit"
    source = "provider"
    retry_after = timedelta(seconds=60)


class CoordinatorFault(RelayError):
    """Ours."""


class InternalError(CoordinatorFault):
    """The message says nothing of the cause; the log does, under the request id."""


class StoreUnavailable(CoordinatorFault):
    """The store did not answer: nothing was accepted, trying again is safe."""

    code = "CAPACITY_EXHAUSTED"
    status = 503
    type = "unavailable"
    retry_after = timedelta(seconds=5)


class RateLimited(RelayError):
    """The caller's own limit, a minute or at a time. `allowance` is what the headers say of it, where there is one.

    Last of all: a task that ended with this code ended with an upstream's.
    """

    code = "RATE_LIMITED"
    status = 429
    type = "rate_limit"
    blame = Blame.CLIENT

    def __init__(self, message: str, *, retry_after: timedelta, allowance: Allowance | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.allowance = allowance
