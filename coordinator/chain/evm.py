"""`chain.ports.Chain` over JSON-RPC: the network as the signer's account sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from web3.exceptions import BlockNotFound, TransactionNotFound

from coordinator.chain.errors import ChainRejected
from coordinator.chain.items import Item, Kind, Leg
from coordinator.chain.ports import Head, Place, TaskOnChain, TaskStatus, TxReceipt
from coordinator.chain.registry import TaskRegistry
from coordinator.chain.rpc import W3, disconnect, reaching
from coordinator.protocol.hashing import TaskSpace

_NOTHING = bytes(32)


class EvmChain:
    """`check` is the start check, run again whenever the chain turns out to have been rewound."""

    def __init__(self, w3: W3, space: TaskSpace, check: Callable[[], Awaitable[object]]) -> None:
        self._w3, self._space, self._check = w3, space, check
        self._coordinator = to_checksum_address(space.coordinator)
        self._registry = TaskRegistry(w3, space.task_registry)

    async def close(self) -> None:
        await disconnect(self._w3)

    async def check(self) -> None:
        await self._check()

    async def head(self) -> Head:
        with reaching():
            block = await self._w3.eth.get_block("latest")
        return Head(block["number"], _hex(block["hash"]), block.get("baseFeePerGas", 0))

    async def block_hash(self, number: int) -> str | None:
        with reaching():
            try:
                return _hex((await self._w3.eth.get_block(number))["hash"])
            except BlockNotFound:
                return None

    async def mined_nonce(self) -> int:
        with reaching():
            return int(await self._w3.eth.get_transaction_count(self._coordinator, "latest"))

    async def tip(self) -> int:
        with reaching():
            return int(await self._w3.eth.max_priority_fee)

    async def balance(self) -> int:
        with reaching():
            return int(await self._w3.eth.get_balance(self._coordinator))

    async def deposit(self) -> int:
        return await self._registry.deposit_of(self._coordinator)

    def task_address(self, task_key: str, request_hash: str) -> str:
        return self._space.task_address(task_key, request_hash)

    def calldata(self, kind: Kind, items: Sequence[Item]) -> str:
        return self._registry.calldata(kind, items)

    async def broadcast(self, raw: str) -> None:
        with reaching():
            await self._w3.eth.send_raw_transaction(HexBytes(raw))

    async def knows(self, tx_hash: str) -> bool:
        with reaching():
            try:
                await self._w3.eth.get_transaction(HexBytes(tx_hash))
            except TransactionNotFound:
                return False
        return True

    async def tx_receipt(self, tx_hash: str) -> TxReceipt | None:
        with reaching():
            try:
                found = await self._w3.eth.get_transaction_receipt(HexBytes(tx_hash))
            except TransactionNotFound:
                return None
        return TxReceipt(
            tx_hash=tx_hash,
            block_number=found["blockNumber"],
            block_hash=_hex(found["blockHash"]),
            gas_used=found["gasUsed"],
            succeeded=found["status"] == 1,
            outcomes=self._registry.outcomes(found["logs"]),
        )

    async def task(self, address: str) -> TaskOnChain:
        status = await self._registry.status_of(address)
        if status is TaskStatus.COMPLETED:
            return TaskOnChain(status, await self._registry.response_hash_of(address))
        if status is TaskStatus.FAILED:
            return TaskOnChain(status, await self._registry.failure_code_of(address))
        return TaskOnChain(status, _NOTHING)

    async def place_of(self, address: str, leg: Leg) -> Place | None:
        try:
            return await self._registry.place_of(address, leg)
        except ChainRejected:
            return None  # many endpoints refuse to search the whole chain


def _hex(value: bytes) -> str:
    return "0x" + bytes(value).hex()
