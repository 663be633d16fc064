"""Task, typed: what a task's own contract says of itself. One method a function."""

from __future__ import annotations

from typing import Any

from eth_utils.address import to_checksum_address

from contracts import artifact
from coordinator.chain.ports import TaskStatus
from coordinator.chain.rpc import W3, reaching

_STATUS = tuple(TaskStatus)


class Task:
    """Every method raises ChainUnavailable, or ChainRejected when there is no task at the address."""

    def __init__(self, w3: W3, address: str) -> None:
        self.address = to_checksum_address(address)
        self._contract = w3.eth.contract(address=self.address, abi=artifact("Task").abi)

    async def status(self) -> TaskStatus:
        return _STATUS[int(await self._call("status"))]

    async def task_id(self) -> str:
        """The task's key: keccak256(salt ‖ task id)."""
        return _hex(await self._call("taskId"))

    async def request_hash(self) -> str:
        return _hex(await self._call("requestHash"))

    async def response_hash(self) -> str:
        return _hex(await self._call("responseHash"))

    async def failure_code(self) -> str:
        """Empty unless failed."""
        return bytes(await self._call("failureCode")).rstrip(b"\0").decode("ascii", "replace")

    async def node(self) -> str:
        return str(await self._call("node"))

    async def payment(self) -> int:
        """Wei."""
        return int(await self._call("payment"))

    async def registry(self) -> str:
        return str(await self._call("registry"))

    async def _call(self, name: str) -> Any:
        with reaching():
            return await self._contract.functions[name]().call()


def _hex(value: bytes) -> str:
    return "0x" + bytes(value).hex()
