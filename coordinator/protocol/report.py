"""Node → coordinator, by signed HTTP: what became of one attempt."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from coordinator.protocol.ids import Address, Bytes32, Signature, WireTaskId

_UINT32 = 2**32 - 1
_UINT64 = 2**64 - 1
# The answer of the longest completion the API admits (128,000 tokens with log-probabilities) is far below this.
MAX_ANSWER_CHARACTERS = 32 * 1024 * 1024


class Blame(StrEnum):
    """Whose fault a failure is. A client's is never retried; a coordinator's never counts against a node."""

    CLIENT = "client"
    NODE = "node"
    CAPACITY = "capacity"
    COORDINATOR = "coordinator"


class FailureCode(StrEnum):
    """Why a node could not answer."""

    BACKEND_REFUSED = "BACKEND_REFUSED"  # the backend called the request invalid (4xx): the client's
    BACKEND_UNSUPPORTED = "BACKEND_UNSUPPORTED"  # the backend can't do a parameter that was asked for: the client's
    BACKEND_UNREACHABLE = "BACKEND_UNREACHABLE"  # no connection, or it broke
    BACKEND_ERROR = "BACKEND_ERROR"  # 5xx, or an answer that is no completion
    BACKEND_TIMEOUT = "BACKEND_TIMEOUT"
    HANDED_BACK = "HANDED_BACK"  # a draining node gives an unstarted attempt back: nobody's fault, the capacity's


_BLAME = {
    FailureCode.BACKEND_REFUSED: Blame.CLIENT,
    FailureCode.BACKEND_UNSUPPORTED: Blame.CLIENT,
    FailureCode.HANDED_BACK: Blame.CAPACITY,
}


class Failure(BaseModel):
    """A failed attempt. `message` may be shown to the client: it names the parameter, never the prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: FailureCode
    message: str = Field(max_length=2000)
    backend_status: int | None = Field(default=None, ge=100, le=599)

    @property
    def blame(self) -> Blame:
        return _BLAME.get(self.code, Blame.NODE)


class Receipt(BaseModel):
    """The signed part of a Report: EIP-712 typed data, checked by the coordinator, the contract and anybody else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Address
    attempt: Annotated[int, Field(ge=1, le=_UINT32)]
    request_hash: Bytes32
    response_hash: Bytes32
    prompt_tokens: Annotated[int, Field(ge=0, le=_UINT32)]
    completion_tokens: Annotated[int, Field(ge=0, le=_UINT32)]
    started_at_ms: Annotated[int, Field(ge=0, le=_UINT64)]
    finished_at_ms: Annotated[int, Field(ge=0, le=_UINT64)]


class Report(BaseModel):
    """What a node sends back for one attempt: an answer with its Receipt, or a Failure; never both, never neither.

    `answer` is the backend's body as text; its UTF-8 bytes are what `receipt.response_hash` covers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    task_id: WireTaskId
    attempt: Annotated[int, Field(ge=1, le=_UINT32)]
    answer: Annotated[str, Field(max_length=MAX_ANSWER_CHARACTERS)] | None = None
    receipt: Receipt | None = None
    receipt_signature: Signature | None = None
    failure: Failure | None = None

    @model_validator(mode="after")
    def _one_outcome(self) -> Report:
        answered = self.answer is not None and self.receipt is not None and self.receipt_signature is not None
        empty = self.answer is None and self.receipt is None and self.receipt_signature is None
        if not (answered and self.failure is None) and not (empty and self.failure is not None):
            raise ValueError("must carry answer, receipt and receipt_signature, or failure alone")
        return self


class Refusal(StrEnum):
    """Why a Report changed nothing. All are final: a node drops the Report."""

    UNKNOWN_TASK = "UNKNOWN_TASK"
    FOREIGN_ATTEMPT = "FOREIGN_ATTEMPT"  # another node's
    LATE = "LATE"  # the lease was lost and the task given to somebody else, or ended
    DUPLICATE = "DUPLICATE"  # this attempt has reported already
    BAD_RECEIPT = "BAD_RECEIPT"  # hashes, address, attempt or signature don't fit
    BAD_ANSWER = "BAD_ANSWER"  # none, empty, cut off, not what was asked for: a node fault, the task goes elsewhere


class ReportReply(BaseModel):
    """200 either way: `accepted`, or the reason why not. Anything but 200 means: keep the Report, post it again.

    `detail` is for the node's operator: what a BAD_ANSWER lacked.
    """

    model_config = ConfigDict(frozen=True)

    accepted: bool
    refusal: Refusal | None = None
    detail: str | None = None
