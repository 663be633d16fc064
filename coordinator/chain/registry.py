"""TaskRegistry, typed: one method a function. Writes give calldata, since the signer is ours and not the node's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector, get_abi_input_types
from eth_utils.address import to_checksum_address
from web3.types import LogReceipt

from contracts import artifact
from coordinator.chain.items import Failure, Item, Kind, Leg, Opening, Settlement, code_bytes
from coordinator.chain.ports import Place, Skip, TaskStatus
from coordinator.chain.rpc import W3, reaching
from coordinator.protocol.hashing import unhex

_STATUS = tuple(TaskStatus)
_SKIP = tuple(Skip)
_ABI: list[Any] = artifact("TaskRegistry").abi
_TOPIC = {entry["name"]: bytes(event_abi_to_log_topic(entry)) for entry in _ABI if entry["type"] == "event"}
_CALLS = {
    entry["name"]: (bytes(function_abi_to_4byte_selector(entry)), get_abi_input_types(entry))
    for entry in _ABI
    if entry["type"] == "function" and entry["name"] in tuple(Kind)
}
_DONE = {_TOPIC["TaskOpened"], _TOPIC["TaskCompleted"], _TOPIC["TaskFailed"]}
_EVENTS_OF = {Leg.OPENING: ("TaskOpened",), Leg.SETTLEMENT: ("TaskCompleted", "TaskFailed")}


@dataclass(frozen=True, slots=True)
class Domain:
    """The EIP-712 domain that receipts are signed for."""

    name: str
    version: str
    chain_id: int
    verifying_contract: str


class TaskRegistry:
    """Every reader raises ChainUnavailable, or ChainRejected when there is no such contract at the address."""

    def __init__(self, w3: W3, address: str) -> None:
        self._w3, self.address = w3, to_checksum_address(address)
        self._contract = w3.eth.contract(address=self.address, abi=_ABI)

    def open(self, items: Sequence[Opening]) -> str:
        return self._encode("open", [(unhex(item.task_key), unhex(item.request_hash)) for item in items])

    def settle(self, items: Sequence[Settlement]) -> str:
        return self._encode("settle", [_settlement_tuple(item) for item in items])

    def fail(self, items: Sequence[Failure]) -> str:
        rows = [(unhex(item.task_key), unhex(item.request_hash), code_bytes(item.code)) for item in items]
        return self._encode("fail", rows)

    def calldata(self, kind: Kind, items: Sequence[Item]) -> str:
        """Raises TypeError when an item is of another kind."""
        wanted: dict[Kind, tuple[type[Any], Any]] = {
            Kind.OPEN: (Opening, self.open), Kind.SETTLE: (Settlement, self.settle), Kind.FAIL: (Failure, self.fail),
        }  # fmt: skip
        item_type, encode = wanted[kind]
        if not all(isinstance(item, item_type) for item in items):
            raise TypeError(f"not all items are for {kind}")
        return str(encode(items))

    def deposit(self) -> str:
        return str(self._contract.encode_abi("deposit", args=[]))

    def withdraw_deposit(self, to: str, amount: int) -> str:
        return str(self._contract.encode_abi("withdrawDeposit", args=[to, amount]))

    def withdraw_credit(self, node: str) -> str:
        return str(self._contract.encode_abi("withdrawCredit", args=[node]))

    async def deposit_of(self, coordinator: str) -> int:
        return int(await self._call("depositOf", coordinator))

    async def credit_of(self, node: str) -> int:
        return int(await self._call("creditOf", node))

    async def task_address(self, coordinator: str, task_key: str, request_hash: str) -> str:
        return str(await self._call("taskAddress", coordinator, unhex(task_key), unhex(request_hash)))

    async def implementation(self) -> str:
        return str(await self._call("implementation"))

    async def node_registry(self) -> str:
        return str(await self._call("nodeRegistry"))

    async def status_of(self, task: str) -> TaskStatus:
        return _STATUS[int(await self._call("statusOf", task))]

    async def response_hash_of(self, task: str) -> bytes:
        return bytes(await self._call("responseHashOf", task))

    async def failure_code_of(self, task: str) -> bytes:
        return bytes(await self._call("failureCodeOf", task))

    async def node_of(self, task: str) -> str:
        return str(await self._call("nodeOf", task))

    async def payment_of(self, task: str) -> int:
        return int(await self._call("paymentOf", task))

    async def domain(self) -> Domain:
        """`eip712Domain()` of EIP-5267."""
        _, name, version, chain_id, verifying_contract, _, _ = await self._call("eip712Domain")
        return Domain(name, version, chain_id, verifying_contract)

    async def place_of(self, task: str, leg: Leg) -> Place | None:
        """Where a task was opened, or closed. None when the endpoint finds no such event."""
        topics: list[Any] = [[_TOPIC[name] for name in _EVENTS_OF[leg]], unhex(task).rjust(32, b"\0")]
        with reaching():
            logs = await self._w3.eth.get_logs(
                {"address": self.address, "topics": topics, "fromBlock": "earliest", "toBlock": "latest"}
            )
        if not logs:
            return None
        return Place("0x" + bytes(logs[-1]["transactionHash"]).hex(), logs[-1]["blockNumber"])

    def outcomes(self, logs: Sequence[LogReceipt]) -> Mapping[str, Skip | None]:
        """What a batch did to each task: None for opened, completed or failed as asked, else why it was skipped."""
        found: dict[str, Skip | None] = {}
        for log in logs:
            if to_checksum_address(log["address"]) != self.address or len(log["topics"]) < 2:
                continue
            topic, task = bytes(log["topics"][0]), to_checksum_address(bytes(log["topics"][1])[12:])
            if topic in _DONE:
                found[task] = None
            elif topic == _TOPIC["ItemSkipped"]:
                found.setdefault(task, _SKIP[int.from_bytes(bytes(log["data"]), "big")])
        return found

    def _encode(self, name: str, rows: Sequence[tuple[Any, ...]]) -> str:
        """Past web3's own normalising of nested arguments, which takes 45 of 55 ms for 50 settlements."""
        selector, types = _CALLS[name]
        return "0x" + (selector + self._w3.codec.encode(types, [rows])).hex()

    async def _call(self, name: str, *args: object) -> Any:
        with reaching():
            return await self._contract.functions[name](*args).call()


def _settlement_tuple(item: Settlement) -> tuple[Any, ...]:
    return (
        unhex(item.task_key),
        unhex(item.request_hash),
        unhex(item.response_hash),
        to_checksum_address(item.node),
        item.attempt,
        item.prompt_tokens,
        item.completion_tokens,
        item.started_at_ms,
        item.finished_at_ms,
        item.payment_wei,
        unhex(item.signature),
    )
