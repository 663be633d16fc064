"""Node ↔ coordinator: what network it is, signing in, heartbeats, leaving.

All but the network and the challenge are signed (see `signing`). Durations travel, not moments: clocks differ.
"""

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
STANDING_PATH = "/v2/node/standing"
# GET, for anybody.
NETWORK_PATH = "/v2/node/network"

ModelName = Annotated[str, Field(min_length=1, max_length=200)]
SessionId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Admission(StrEnum):
    """Which node keys the coordinator admits."""

    OPEN = "open"  # every key
    LIST = "list"  # those on the operator's list
    STAKE = "stake"  # those registered on chain with enough stake
    LIST_OR_STAKE = "list_or_stake"  # either


class Network(BaseModel):
    """What a provider needs to know before a node can join; nothing of it is secret.

    The addresses are None until the chain writer has started once. `stake_wei`: the least stake, where stakes count.
    `broker`: redis:// or rediss:// with host and port, as nodes reach it. `models`: what clients can ask nodes for.
    """

    model_config = ConfigDict(frozen=True)

    chain_id: int | None
    task_registry: Address | None
    node_registry: Address | None
    admission: Admission
    stake_wei: int | None
    broker: str
    models: tuple[str, ...]
    now_ms: int


class Condition(StrEnum):
    """How far the coordinator trusts a node with work, from what it saw of it."""

    GOOD = "good"
    PROBATION = "probation"  # one attempt at a time, until enough of them went well
    SUSPENDED = "suspended"  # none, for a while: too many went wrong


class Speed(BaseModel):
    """Of one model on one node, decaying means over attempts, as the coordinator saw them."""

    model_config = ConfigDict(frozen=True)

    tokens_per_second: float | None
    first_token_ms: float | None


class StandingRequest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Standing(BaseModel):
    """Where a node stands with the coordinator: whether it may sign in, and if not why and what to do about it.

    `suspended_ms`: how much longer. `successes`, `faults`, `timeouts`: counts that decay.
    """

    model_config = ConfigDict(frozen=True)

    admitted: bool
    remedy: str | None = None
    signed_in: bool = False
    condition: Condition = Condition.GOOD
    suspended_ms: int | None = None
    successes: float = 0
    faults: float = 0
    timeouts: float = 0
    speeds: dict[str, Speed] = {}


class ChallengeRequest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    node: NodeAddress


class Challenge(BaseModel):
    """Opaque; good once and for a minute, for the node that it was asked for."""

    model_config = ConfigDict(frozen=True)

    challenge: str
    expires_in_s: int


# Bounded, for the store keeps them for a day.
Gpus = Annotated[tuple[Annotated[str, Field(max_length=100)], ...], Field(max_length=64)]


class Hardware(BaseModel):
    """What the node says of its machine; shown to operators, never trusted."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    cpu_count: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    memory_bytes: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    gpus: Gpus = ()
    # The makers' ids (UUIDs): a machine that comes back under another key is the same machine.
    gpu_ids: Gpus = ()


class SessionRequest(BaseModel):
    """Signs in, and takes over from any earlier session of the same key.

    `previous`: the session that this process had; then it only renews it, and its broker user outlives the change.
    Refused as SESSION_SUPERSEDED when another process's session lives by then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    node: NodeAddress
    challenge: Annotated[str, Field(max_length=200)]
    models: Annotated[tuple[ModelName, ...], Field(min_length=1, max_length=100)]
    slots: Annotated[int, Field(ge=1, le=4096)]
    version: Annotated[str, Field(max_length=50)] = ""
    hardware: Hardware = Hardware()
    previous: SessionId | None = None


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
    """What a node needs to work. `receipt` signing needs chain_id and task_registry; times in milliseconds.

    `expires_ms`: after so long the session is over; a node signs in anew before, with `previous`.
    """

    model_config = ConfigDict(frozen=True)

    session: SessionId
    broker: BrokerCredential
    heartbeat_ms: int
    lease_ms: int
    expires_ms: int = 3_600_000
    chain_id: int
    task_registry: Address


class Heartbeat(BaseModel):
    """Every `heartbeat_ms`. `running`: attempts the node holds, taken or still unposted; only these are renewed.

    `answering`: those of them whose first token has come. A node beats out of turn to say so, a moment after the token,
    unless the attempt is over by then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    session: SessionId
    running: Annotated[tuple[str, ...], Field(max_length=4096)] = ()
    answering: Annotated[tuple[str, ...], Field(max_length=4096)] = ()
    draining: bool = False


class NoWork(StrEnum):
    """Why a node with free slots has none."""

    NO_DEMAND = "NO_DEMAND"  # nothing waits for the models it serves
    FULL = "FULL"  # its slots are taken
    DRAINING = "DRAINING"
    SUSPENDED = "SUSPENDED"  # too many of its attempts went wrong: see Standing
    PROBATION = "PROBATION"  # after a suspension: one attempt at a time
    UNTRIED = "UNTRIED"  # it has as many as its answers so far have earned


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
