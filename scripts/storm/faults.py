"""The faults by name: whom each strikes, for how long, and what it stands for. `scripts/storm/README.md` tells more.

BACKEND      the model server behind one node misbehaves; its node is honest
PROCESS      something is done to one node's process
HOSTILE      a node of our own making, with a key of its own, signs in and breaks the rules
COORDINATOR  something is done to what all nodes share
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    BACKEND = "backend"
    PROCESS = "process"
    HOSTILE = "hostile"
    COORDINATOR = "coordinator"


@dataclass(frozen=True, slots=True)
class Fault:
    """`seconds`: how long it lasts; of a kill, how long at least until the process is started again."""

    name: str
    kind: Kind
    seconds: float
    what: str


# Longer than the lease (10 s): what the process held has to be given to others, and it comes back to find it gone.
_BEYOND_THE_LEASE = 12.0

_ALL = (
    Fault("kill", Kind.PROCESS, _BEYOND_THE_LEASE, "kill -9 of a node's process, which comes back after its leases"),
    Fault("freeze", Kind.PROCESS, _BEYOND_THE_LEASE, "SIGSTOP, and SIGCONT when its leases are long over"),
    Fault("node_restart", Kind.PROCESS, 3, "kill -9 of a node's process, which is back at once and knows of nothing"),
    Fault("drain", Kind.PROCESS, 5, "SIGTERM to a node, which hands back what it has not begun, and comes back"),
    Fault("slow", Kind.BACKEND, 10, "every answer takes three seconds more"),
    Fault("error500", Kind.BACKEND, 8, "500 or 503 instead of an answer"),
    Fault("empty", Kind.BACKEND, 8, "a well-formed answer that says nothing"),
    Fault("truncated", Kind.BACKEND, 8, "half an answer: the connection breaks, or it ends without a finish_reason"),
    Fault("garbage", Kind.BACKEND, 8, "not JSON, JSON that is no completion, frames that are none"),
    Fault("hung", Kind.BACKEND, 8, "takes the request and says nothing"),
    Fault(
        "silent", Kind.HOSTILE, 12, "takes attempts and never reports; lists some of them in its heartbeats, some not"
    ),
    Fault("double_post", Kind.HOSTILE, 8, "posts each Report twice at once, then another answer to the same attempt"),
    Fault("late_post", Kind.HOSTILE, 18, "keeps each attempt unlisted until it is somebody else's, then reports it"),
    Fault("wrong_signature", Kind.HOSTILE, 8, "Receipts and requests signed by another key"),
    Fault("clock_off", Kind.HOSTILE, 12, "signs in with a right clock, works with one that is off by minutes"),
    Fault("foreign_report", Kind.HOSTILE, 8, "reports attempts that were given to other nodes"),
    Fault("redis_restart", Kind.COORDINATOR, 1, "kill -9 of the store and broker"),
    Fault("broker_cut", Kind.COORDINATOR, 0, "CLIENT KILL of every node's connection to the broker"),
    Fault("api_restart", Kind.COORDINATOR, 0, "kill -9 of both API processes, the next time SIGTERM to one"),
    Fault("chain_restart", Kind.COORDINATOR, 2, "kill -9 of the chain, which comes back without its last moments"),
    Fault("chain_writer_kill", Kind.COORDINATOR, 0, "kill -9 of the chain writer"),
)
FAULTS: dict[str, Fault] = {fault.name: fault for fault in _ALL}
