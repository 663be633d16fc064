"""Salted hashes, the task's deterministic address, and the EIP-712 digest of a Receipt.

Everything here can be recomputed by a stranger from the proof of a task (`GET /v2/tasks/{id}/proof`).
Addresses and hashes are 0x-strings outside, bytes inside.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from coordinator.protocol.ids import TaskId
from coordinator.protocol.keccak import checksummed, keccak
from coordinator.protocol.report import Receipt

# EIP-1167 creation code with immutable arguments, as OpenZeppelin's Clones lays it out (0x2d bytes of proxy code).
_PROXY_LENGTH = 0x2D
_CLONE_HEAD = bytes.fromhex("3d81600a3d39f3363d3d373d3d3d363d73")
_CLONE_TAIL = bytes.fromhex("5af43d82803e903d91602b57fd5bf3")

RECEIPT_TYPE = (
    "Receipt(address task,uint32 attempt,bytes32 requestHash,bytes32 responseHash,"
    "uint32 promptTokens,uint32 completionTokens,uint64 startedAt,uint64 finishedAt)"
)
_RECEIPT_TYPE_HASH = keccak(RECEIPT_TYPE.encode())
_DOMAIN_TYPE_HASH = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_DOMAIN_NAME_HASH = keccak(b"OpenGPU Relay")
_DOMAIN_VERSION_HASH = keccak(b"1")


def new_salt() -> bytes:
    """32 random bytes a task: without them a short prompt could be guessed from its hash."""
    return secrets.token_bytes(32)


def salted_hash(salt: bytes, body: bytes) -> str:
    """keccak-256 over salt ‖ exact bytes."""
    return "0x" + keccak(salt + body).hex()


def task_key(salt: bytes, task_id: TaskId) -> str:
    """The task's name on chain: the id itself is the right to poll, so only its salted hash is published."""
    return salted_hash(salt, task_id.encode())


def unhex(value: str) -> bytes:
    return bytes.fromhex(value[2:])


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _address_word(address: str) -> bytes:
    return bytes(12) + unhex(address)


@dataclass(frozen=True, slots=True)
class TaskSpace:
    """Where the tasks of one coordinator live: fixes every task address and the EIP-712 domain.

    `implementation` is the Task contract that the registry clones.
    """

    chain_id: int
    task_registry: str
    implementation: str
    coordinator: str

    def task_address(self, key: str, request_hash: str) -> str:
        """CREATE2 (EIP-1014) of the task's clone, EIP-55 checksummed; equals `TaskRegistry.taskAddress`."""
        arguments = unhex(key) + unhex(request_hash)
        length = (_PROXY_LENGTH + len(arguments)).to_bytes(2, "big")
        creation = b"\x61" + length + _CLONE_HEAD + unhex(self.implementation) + _CLONE_TAIL + arguments
        salt = keccak(_address_word(self.coordinator) + unhex(key))
        packed = b"\xff" + unhex(self.task_registry) + salt + keccak(creation)
        return checksummed(keccak(packed)[12:])

    def receipt_digest(self, receipt: Receipt) -> bytes:
        """The 32 bytes that a node signs (EIP-712)."""
        return receipt_digest(self.chain_id, self.task_registry, receipt)


def receipt_digest(chain_id: int, task_registry: str, receipt: Receipt) -> bytes:
    """EIP-712 digest of a Receipt under the domain of `task_registry`. All fields are static, so words suffice."""
    domain = keccak(
        _DOMAIN_TYPE_HASH + _DOMAIN_NAME_HASH + _DOMAIN_VERSION_HASH + _word(chain_id) + _address_word(task_registry)
    )
    struct = keccak(
        _RECEIPT_TYPE_HASH
        + _address_word(receipt.task)
        + _word(receipt.attempt)
        + unhex(receipt.request_hash)
        + unhex(receipt.response_hash)
        + _word(receipt.prompt_tokens)
        + _word(receipt.completion_tokens)
        + _word(receipt.started_at_ms)
        + _word(receipt.finished_at_ms)
    )
    return keccak(b"\x19\x01" + domain + struct)
