"""Node ↔ coordinator: signing in, heartbeats, leaving. All but the challenge are signed (see `signing`)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from coordinator.protocol.ids import Address, NodeAddress

CHALLENGE_PATH = "/v2/node/challenge"
SESSION_PATH = "/v2/node/session"
HEARTBEAT_PATH = "/v2/node/heartbeat"
REPORT_PATH = "/v2/node/reports"
LEAVE_PATH = "/v2/node/leave"

ModelName = Annotated[str, Field(min_length=1, max_length=200)]
SessionId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class ChallengeRequest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    node: NodeAddress


class Challenge(BaseModel):
    """32 random bytes as hex, good once and for a minute, for the node that asked."""

    model_config = ConfigDict(frozen=True)

    challenge: str
    expires_in_s: int


class Hardware(BaseModel):
    """What the node says of its machine; shown to operators, never trusted."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    cpu_count: int | None = None
    memory_bytes: int | None = None
    gpus: tuple[str, ...] = ()


class SessionRequest(BaseModel):
    """Signs in, and takes over from any earlier session of the same key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    node: NodeAddress
    challenge: str
    models: Annotated[tuple[ModelName, ...], Field(min_length=1, max_length=100)]
    slots: Annotated[int, Field(ge=1, le=4096)]
    version: Annotated[str, Field(max_length=50)] = ""
    hardware: Hardware = Hardware()


class BrokerCredential(BaseModel):
    """A Redis user that can touch this node's queue and nothing else. `url` holds the password: secret."""

    model_config = ConfigDict(frozen=True)

    url: str
    queue: str
    key_prefix: str

    def __repr__(self) -> str:
        return f"BrokerCredential(queue={self.queue!r})"

    __str__ = __repr__


class SessionGrant(BaseModel):
    """What a node needs to work. `receipt` signing needs chain_id and task_registry; times in milliseconds."""

    model_config = ConfigDict(frozen=True)

    session: SessionId
    broker: BrokerCredential
    heartbeat_ms: int
    lease_ms: int
    chain_id: int
    task_registry: Address


class Heartbeat(BaseModel):
    """Every `heartbeat_ms`. `running`: attempts the node holds, taken or still unposted; only these are renewed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    session: SessionId
    running: Annotated[tuple[str, ...], Field(max_length=4096)] = ()
    draining: bool = False


class NoWork(StrEnum):
    """Why a node with free slots has none."""

    NO_DEMAND = "NO_DEMAND"  # nothing waits for the models it serves
    FULL = "FULL"  # its slots are taken
    DRAINING = "DRAINING"


class HeartbeatReply(BaseModel):
    """`cancelled`: of the attempts it listed, those that are no longer its own: stop them and drop their Reports.

    `expected`: attempts that this node was given and did not list: it may have missed their Envelopes.
    """

    model_config = ConfigDict(frozen=True)

    cancelled: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    no_work: NoWork | None = None


class Leave(BaseModel):
    """Ends the session at once: what the node still holds goes to others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    session: SessionId
