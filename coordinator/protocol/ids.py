"""Ids as types, so that a task id can't be passed where an address belongs."""

from __future__ import annotations

import re
import uuid
from functools import lru_cache
from typing import Annotated, NewType

from pydantic import AfterValidator

from coordinator.protocol.keccak import checksummed

TaskId = NewType("TaskId", str)
AttemptId = NewType("AttemptId", str)

TASK_ID = re.compile(r"^(direct|opengpu):[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
ADDRESS = re.compile(r"^0x[0-9a-fA-F]{40}$")
BYTES32 = re.compile(r"^0x[0-9a-f]{64}$")
SIGNATURE = re.compile(r"^0x[0-9a-f]{130}$")


def new_task_id(mode: str) -> TaskId:
    """`{mode}:{uuid4}`. The random part is the right to poll the task, so it is never logged or put on chain."""
    return TaskId(f"{mode}:{uuid.uuid4()}")


def attempt_id(task_id: TaskId, number: int) -> AttemptId:
    """One task given to one node once: `{task_id}#{number}`, number from 1."""
    return AttemptId(f"{task_id}#{number}")


def split_attempt_id(value: AttemptId) -> tuple[TaskId, int]:
    """The two parts of an attempt id. Raises ValueError when it is not one."""
    task_id, _, number = value.rpartition("#")
    return TaskId(task_id), int(number)


@lru_cache(maxsize=4096)
def _address(value: str) -> str:
    """Cached: the same few nodes and registries come all day."""
    if not ADDRESS.fullmatch(value):
        raise ValueError("is not an address: 0x and 40 hexadecimal digits")
    return checksummed(bytes.fromhex(value[2:]))


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"is not {what}")
        return value

    return AfterValidator(check)


# An EVM address with its EIP-55 checksum, whatever case it came in.
Address = Annotated[str, AfterValidator(_address)]
# The hot key's address: a node's name everywhere, its queue included.
NodeAddress = Annotated[str, AfterValidator(_address)]
WireTaskId = Annotated[str, _matching(TASK_ID, "a task id: opengpu:{uuid4} or direct:{uuid4}")]
Bytes32 = Annotated[str, _matching(BYTES32, "32 bytes as 0x and 64 lower-case hexadecimal digits")]
Signature = Annotated[str, _matching(SIGNATURE, "a 65-byte signature as 0x and 130 lower-case hexadecimal digits")]
