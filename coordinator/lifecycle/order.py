"""What the API hands over once a client's request has been checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from coordinator.lifecycle.money import Bill
from coordinator.lifecycle.webhooks import Webhook
from coordinator.protocol.envelope import Endpoint

Mode = Literal["opengpu", "direct"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A request's right to make the one task of its Idempotency-Key: whoever has lost it by now writes nothing."""

    name: str
    token: str


@dataclass(frozen=True, slots=True)
class Order:
    """A checked request. `request` is the exact body for the model server: JSON, the relay's own fields taken out.

    `caller` is whose it is; `concurrent` how many unfinished tasks he may have at a time, this one counted;
    `client` who takes turns with others where tasks wait: the caller's account, and the caller where he has none;
    `prefixes` tell which conversation it goes on with (conversation.py), itself first, then from the newest turn on;
    `bill` whom it is counted and charged to, nobody where there is none;
    `webhook` who is told of its end; `streams` whether a node hears of its first token (protocol.streaming).
    """

    mode: Mode
    model: str
    request: bytes
    caller: str
    asynchronous: bool = False
    endpoint: Endpoint = "chat/completions"
    concurrent: int | None = None
    claim: Claim | None = None
    bill: Bill | None = None
    webhook: Webhook | None = None
    client: str | None = None
    prefixes: tuple[str, ...] = ()
    streams: bool = False


@dataclass(frozen=True, slots=True)
class Commitment:
    """What ties a task to the chain: 0x-hex, all of it decided at submit. `salt` is for those who know the task id."""

    salt: str
    task_key: str
    request_hash: str
    task_address: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What a Report is checked against. `request`: the bytes that the node was given, which bound its prompt tokens."""

    salt: str
    request_hash: str
    task_address: str
    model: str
    request: bytes
    endpoint: Endpoint = "chat/completions"
