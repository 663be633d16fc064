"""Records of tasks as submit and report write them, for the tests of the outbox and the chain writer."""

from __future__ import annotations

from dataclasses import dataclass, field

from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak

from coordinator.protocol.hashing import TaskSpace, salted_hash, task_key
from coordinator.protocol.ids import TaskId
from coordinator.protocol.report import Receipt
from coordinator.protocol.signing import sign_digest
from tests.fakes.chain import SPACE

REQUEST, ANSWER = b'{"messages": []}', b'{"choices": []}'
NODE_KEY = PrivateKey(keccak(text="a node of the tests"))
NODE = NODE_KEY.public_key.to_checksum_address()
STARTED_MS, FINISHED_MS = 1_700_000_000_000, 1_700_000_001_000


def task_id(number: int) -> TaskId:
    return TaskId(f"opengpu:00000000-0000-4000-8000-{number:012x}")


@dataclass
class Task:
    """`sign` makes real signatures, which take time; the fake chain doesn't look at them."""

    number: int
    space: TaskSpace = SPACE
    payment_wei: int = 1000
    attempt: int = 1
    sign: bool = False
    salt: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.salt = keccak(text=f"salt {self.number}")

    @property
    def id(self) -> TaskId:
        return task_id(self.number)

    @property
    def key(self) -> str:
        return task_key(self.salt, self.id)

    @property
    def request_hash(self) -> str:
        return salted_hash(self.salt, REQUEST)

    @property
    def response_hash(self) -> str:
        return salted_hash(self.salt, ANSWER)

    @property
    def address(self) -> str:
        return self.space.task_address(self.key, self.request_hash)

    @property
    def receipt(self) -> Receipt:
        return Receipt(
            task=self.address,
            attempt=self.attempt,
            request_hash=self.request_hash,
            response_hash=self.response_hash,
            prompt_tokens=3,
            completion_tokens=4,
            started_at_ms=STARTED_MS,
            finished_at_ms=FINISHED_MS,
        )

    @property
    def signature(self) -> str:
        if not self.sign:
            return "0x" + "00" * 65
        return sign_digest(NODE_KEY, self.space.receipt_digest(self.receipt))

    def submitted(self) -> dict[str, str]:
        return {
            "task_key": self.key,
            "request_hash": self.request_hash,
            "task_address": self.address,
            "opening": "pending",
            "settlement": "none",
        }

    def completed(self) -> dict[str, str]:
        """What is added at the end of the task."""
        return {
            "settlement": "pending",
            "outcome": "completed",
            "response_hash": self.response_hash,
            "node": NODE,
            "attempt": str(self.attempt),
            "prompt_tokens": "3",
            "completion_tokens": "4",
            "started_at_ms": str(STARTED_MS),
            "finished_at_ms": str(FINISHED_MS),
            "payment_wei": str(self.payment_wei),
            "signature": self.signature,
        }

    def failed(self, code: str = "UPSTREAM_TIMEOUT") -> dict[str, str]:
        return {"settlement": "pending", "outcome": "failed", "code": code}
