"""Whether a task's proof, the mathematics and the chain agree. Pure: whoever distrusts the relay can read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from coordinator.chain.ports import Place, TaskStatus
from coordinator.protocol.hashing import TaskSpace, salted_hash, task_key, unhex
from coordinator.protocol.ids import TaskId
from coordinator.protocol.report import Receipt
from coordinator.protocol.signing import SignatureMismatch, recover

Proof = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OnChain:
    """What the chain says, read without the relay. `space` holds the registry that the reader trusts.

    `predicted`: the registry's own `taskAddress`. `settled_at`: the transaction that closed the task, where the
    endpoint can still find it.
    """

    space: TaskSpace
    predicted: str
    status: TaskStatus
    task_key: str
    request_hash: str
    response_hash: str
    failure_code: str
    node: str
    payment_wei: int
    registry: str
    settled_at: Place | None


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    expected: str
    found: str

    @property
    def ok(self) -> bool:
        return self.expected == self.found


def checks(proof: Proof, chain: OnChain) -> list[Check]:
    """Every check, each with what the relay claims and what was found.

    A malformed proof raises KeyError, ValueError or TypeError.
    """
    return [*_of_the_hashes(proof), *_of_the_address(proof, chain), *_of_the_outcome(proof, chain)]


def _of_the_hashes(proof: Proof) -> Iterator[Check]:
    salt = unhex(proof["salt"])
    yield Check("task key", proof["task_key"], task_key(salt, TaskId(proof["task_id"])))
    yield Check("request hash", proof["request_hash"], salted_hash(salt, proof["request"].encode()))
    if proof["status"] == "completed":
        yield Check("response hash", proof["response_hash"], salted_hash(salt, proof["answer"].encode()))


def _of_the_address(proof: Proof, chain: OnChain) -> Iterator[Check]:
    yield Check("chain id", str(proof["chain_id"]), str(chain.space.chain_id))
    yield Check("registry", proof["task_registry"], chain.space.task_registry)
    yield Check("implementation", proof["implementation"], chain.space.implementation)
    address = proof["task_address"]
    yield Check("task address", address, chain.space.task_address(proof["task_key"], proof["request_hash"]))
    yield Check("address by the registry", address, chain.predicted)
    yield Check("chain: registry of the task", chain.space.task_registry, chain.registry)
    yield Check("chain: task key", proof["task_key"], chain.task_key)
    yield Check("chain: request hash", proof["request_hash"], chain.request_hash)


def _of_the_outcome(proof: Proof, chain: OnChain) -> Iterator[Check]:
    yield Check("chain: status", proof["status"], chain.status)
    if proof["status"] == "completed":
        yield from _of_the_receipt(proof, chain)
        yield Check("chain: response hash", proof["response_hash"], chain.response_hash)
        yield Check("chain: node", proof["node"], chain.node)
        if proof.get("payment_wei") is not None:
            yield Check("chain: payment in wei", str(proof["payment_wei"]), str(chain.payment_wei))
    elif proof.get("error_code"):
        yield Check("chain: failure code", proof["error_code"], chain.failure_code)
    claimed = proof.get("settlement") or {}
    if chain.settled_at is not None and claimed.get("tx_hash"):
        yield Check("settlement transaction", claimed["tx_hash"], chain.settled_at.tx_hash)
        yield Check("settlement block", str(claimed["block_number"]), str(chain.settled_at.block_number))


def _of_the_receipt(proof: Proof, chain: OnChain) -> Iterator[Check]:
    receipt = Receipt.model_validate(proof["receipt"])
    yield Check("receipt: task", proof["task_address"], receipt.task)
    yield Check("receipt: attempt", str(proof["attempt"]), str(receipt.attempt))
    yield Check("receipt: request hash", proof["request_hash"], receipt.request_hash)
    yield Check("receipt: response hash", proof["response_hash"], receipt.response_hash)
    try:
        signer = recover(chain.space.receipt_digest(receipt), proof["receipt_signature"])
    except SignatureMismatch as error:
        signer = str(error)
    yield Check("receipt: signed by the node", proof["node"], signer)
