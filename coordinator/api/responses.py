"""The answers as the OpenAPI document describes them. Bodies that pass through are not built from these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Json = dict[str, Any]


class OpenAIChatResponse(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str | None = None
    object: str = "chat.completion"
    created: int | None = None
    model: str
    choices: list[Json]
    usage: Json | None = None
    system_fingerprint: str | None = None
    task_id: str | None = None
    task_address: str | None = None
    mode: str | None = None


class AsyncTaskAccepted(BaseModel):
    task_id: str
    status: str = "running"
    poll_url: str
    message: str


class TaskReceipt(BaseModel):
    """The signed part of a node's report: EIP-712 typed data."""

    task: str
    attempt: int
    request_hash: str
    response_hash: str
    prompt_tokens: int
    completion_tokens: int
    started_at_ms: int
    finished_at_ms: int


class TaskPlace(BaseModel):
    """Of a queued task. `position` is 1 for the first in its model's line, and 0 once a node has it.

    `waiting_for`: `slot` (all who serve the model are busy), `node` (nobody serves it now), `start` (about to begin).
    `expected_wait_seconds`: until it starts, by how fast the line has been moving; null where nothing is known of that.
    """

    position: int = Field(ge=0)
    waiting_for: Literal["slot", "node", "start"]
    expected_wait_seconds: int | None = Field(ge=0)


class TaskChain(BaseModel):
    """Of an ended opengpu task: where its settlement stands. `confirmations` is 0 until it is in a block."""

    status: Literal["pending", "sent", "confirmed", "failed"]
    tx_hash: str | None
    block_number: int | None
    confirmations: int = Field(ge=0)


class TaskRow(BaseModel):
    """A task as it stands, without its result. `error_code` and `error_detail` are there on failure."""

    model_config = ConfigDict(extra="allow")

    task_id: str
    status: Literal["queued", "running", "completed", "failed"]
    elapsed_seconds: int = Field(ge=0)
    task_address: str | None
    mode: Literal["direct", "opengpu"]
    model: str
    created_at: str
    error: str | None
    error_code: str | None = None
    error_detail: str | None = None
    node: str | None
    attempts: int
    receipt: TaskReceipt | None
    queue: TaskPlace | None
    chain: TaskChain | None


class TaskStatus(TaskRow):
    """A task as it stands. `result` is the whole completion; `error_code` and `error_detail` are there on failure."""

    result: Json | None


class TaskList(BaseModel):
    """A key's tasks, newest first; those whose results have expired are left out."""

    tasks: list[TaskRow]
    limit: int
    has_more: bool
    next_cursor: str | None


class TaskProof(BaseModel):
    """All that a stranger needs to check a task against the chain."""

    model_config = ConfigDict(extra="allow")

    task_id: str
    status: str


class WebhookDelivery(BaseModel):
    """What became of a task's webhook. `attempts` have ended; `response_status` and `error` are the last one's.

    `status`: `waiting` (for the task's end), `pending` (an attempt runs or is to come), `delivered`, `failed`.
    `error`: `not_2xx`, `redirect_not_followed`, `timeout`, `name_not_resolved`, `address_refused`, `connection_failed`,
    `tls_failed`, `connection_lost`.
    """

    delivery_id: str
    task_id: str
    event: Literal["task.completed", "task.failed"] | None
    status: Literal["waiting", "pending", "delivered", "failed"]
    url: str
    attempts: int
    response_status: int | None
    error: str | None
    created_at: str
    next_attempt_at: str | None
    last_attempt_at: str | None
    delivered_at: str | None


class WebhookDeliveryList(BaseModel):
    """Newest first."""

    deliveries: list[WebhookDelivery]
    limit: int
    has_more: bool
    next_cursor: str | None


class WebhookSecret(BaseModel):
    """`secret`: what signs the account's webhooks; the one before signs beside it until `previous_valid_until`."""

    secret: str
    created_at: str
    previous_valid_until: str | None


class Problem(BaseModel):
    code: str
    type: str
    source: Literal["client", "provider", "relay"]
    message: str
    request_id: str


class Failed(BaseModel):
    """Every failure but that of a stream that never began. A 422's `detail` is a list of `{type, loc, msg}`."""

    detail: str | list[Json]
    error: Problem
    error_detail: str | None = None


class StreamProblem(BaseModel):
    message: str
    type: str
    code: int


class StreamFailed(BaseModel):
    """The failure of a stream, before its first frame as a body, after it as the last frame."""

    error: StreamProblem


class Endpoint(BaseModel):
    method: str
    path: str
    operation_id: str
    model_in_body: bool
    model_default: str | None
    async_default: bool
    streams: bool


class ModelRow(BaseModel):
    name: str
    tag: str
    display_name: str | None = None
    store_output_supported: bool
    endpoint: Endpoint
    endpoints: list[str] = Field(description="Every path at which the model is offered; `endpoint` is the first")


class ModelList(BaseModel):
    """For each mode, its models by source. A mode without models is absent; `auto` holds them all."""

    auto: dict[str, list[ModelRow]]
    direct: dict[str, list[ModelRow]] | None = None
    opengpu: dict[str, list[ModelRow]] | None = None
    model_restrictions_per_tier: dict[str, list[str]]


class PriceRow(BaseModel):
    """US dollars for a million tokens."""

    mode: str
    model: str
    billing_type: str
    per_1m_input_tokens: float
    per_1m_output_tokens: float


class PriceList(BaseModel):
    pricing: list[PriceRow]
    total_count: int


class ModelDetail(BaseModel):
    name: str
    modes: list[str]
    sources: list[str]
    endpoint: Endpoint
    endpoints: list[str]
    request_schema: Json
    request_schema_url: str
    request_example: Json
    response_schema: Json
    response_schema_url: str
    store_output_supported: bool
    restricted_tiers: list[str]
    pricing: list[PriceRow]
    available: bool
    status: Literal["available", "retired"]
    display_name: str | None = None
    context_length: int | None = None


class TierRates(BaseModel):
    """Requests a minute."""

    opengpu: int
    direct: int
    overall: int = Field(alias="global")


class TierRow(BaseModel):
    """`model_restrictions`: the scopes that the tier may use, all when there are none."""

    tier: str
    model_restrictions: list[str]
    rate_limits: TierRates
    concurrent_tasks: int
    max_keys: int


class TierList(BaseModel):
    tiers: list[TierRow]
    current_tier: str


class OpenAIModel(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class OpenAIModelList(BaseModel):
    object: Literal["list"]
    data: list[OpenAIModel]


class Health(BaseModel):
    status: Literal["ok", "degraded"]
    version: str
    commit: str
