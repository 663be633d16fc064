"""Coordinator → node, through the node's own Celery queue."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from coordinator.protocol.ids import Address, AttemptId, Bytes32, TaskId, WireTaskId, attempt_id

# Which of an OpenAI server's paths a request is for: the path below /v1.
Endpoint = Literal["chat/completions", "completions", "embeddings"]
# The Celery task every node registers; its one positional argument is an Envelope as a JSON object.
RUN_ATTEMPT = "relay.run_attempt"
# Without arguments: beat now, the reply has news. A hint, as forgeable as the queue: what is new only the reply says.
BEAT = "relay.beat"


def queue_name(node: str) -> str:
    """The one queue a node consumes."""
    return f"node.{node}"


def key_prefix(node: str) -> str:
    """kombu's `global_keyprefix` for a node: its queue and kombu's bookkeeping are under it; its ACL ends there."""
    return f"broker:{node}:"


class Envelope(BaseModel):
    """One attempt, whole: all a node needs to run it and to sign for it.

    `request` is the exact text of the body for the backend (the relay's own fields taken out); its UTF-8 bytes are what
    `request_hash` covers; `endpoint` is where it is posted, below /v1.
    Times are unix milliseconds of the coordinator's store.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1] = 1
    task_id: WireTaskId
    attempt: int = Field(ge=1, le=2**32 - 1)  # as in a Report
    model: str
    endpoint: Endpoint = "chat/completions"
    task_address: Address
    salt: Bytes32
    request_hash: Bytes32
    request: str
    assigned_at_ms: int
    deadline_ms: int = Field(description="after this the coordinator gives the attempt up, whatever the lease says")

    @property
    def attempt_id(self) -> AttemptId:
        return attempt_id(TaskId(self.task_id), self.attempt)
