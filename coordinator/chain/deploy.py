"""Puts the contracts on a chain and fills up the coordinator's deposit. Safe to repeat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from web3.exceptions import TimeExhausted

from contracts import artifact
from coordinator.chain.errors import ChainRejected, ChainUnavailable, StartRefused
from coordinator.chain.fees import FeePolicy
from coordinator.chain.registry import TaskRegistry
from coordinator.chain.rpc import W3, reaching
from coordinator.protocol.amounts import coins

log = structlog.get_logger(__name__)

# What a provider stakes at least, and how long it waits to get it back.
MIN_STAKE_WEI = 10**16
UNBONDING_DELAY_SECONDS = 7 * 24 * 3600
_MINED_WITHIN_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Deployment:
    """Addresses, EIP-55 checksummed. `deposit_wei` is what the coordinator has in the TaskRegistry now."""

    chain_id: int
    coordinator: str
    task_registry: str
    node_registry: str
    deposit_wei: int

    def as_json(self) -> dict[str, object]:
        return {
            "chain_id": self.chain_id,
            "coordinator": self.coordinator,
            "TaskRegistry": self.task_registry,
            "NodeRegistry": self.node_registry,
            "deposit_wei": str(self.deposit_wei),
        }


async def deploy(
    w3: W3,
    account: LocalAccount,
    *,
    task_registry: str | None = None,
    node_registry: str | None = None,
    deposit_wei: int = 0,
    fees: FeePolicy | None = None,
) -> Deployment:
    """Deploys what has no code at the address given, then fills the deposit up to `deposit_wei`.

    A TaskRegistry that is there brings its own NodeRegistry. Best run while the chain writer of the same key is idle.
    Raises ChainUnavailable, ChainRejected when a transaction fails, StartRefused when the account can't pay for one.
    """
    deployer = Deployer(w3, account, fees or FeePolicy())
    tasks = await deployer.existing(task_registry)
    if tasks is None:
        nodes = await deployer.existing(node_registry) or await deployer.create(
            "NodeRegistry", account.address, account.address, MIN_STAKE_WEI, UNBONDING_DELAY_SECONDS
        )
        tasks = await deployer.create("TaskRegistry", nodes)
    registry = TaskRegistry(w3, tasks)
    missing = deposit_wei - await registry.deposit_of(account.address)
    if missing > 0:
        await deployer.transact({"to": registry.address, "data": registry.deposit(), "value": missing})
    with reaching():
        chain_id = await w3.eth.chain_id
    return Deployment(
        chain_id, account.address, tasks, await registry.node_registry(), await registry.deposit_of(account.address)
    )


class Deployer:
    """One account's own transactions, one after another, each waited for."""

    def __init__(self, w3: W3, account: LocalAccount, fees: FeePolicy) -> None:
        self._w3, self._account, self._fees = w3, account, fees

    async def existing(self, address: str | None) -> str | None:
        """The address, checksummed, if there is code."""
        if not address:
            return None
        with reaching():
            code = await self._w3.eth.get_code(to_checksum_address(address))
        return to_checksum_address(address) if code else None

    async def create(self, name: str, *args: object) -> str:
        contract = self._w3.eth.contract(abi=artifact(name).abi, bytecode=artifact(name).bytecode)
        tx_receipt = await self.transact({"data": contract.constructor(*args).data_in_transaction})
        address = to_checksum_address(tx_receipt["contractAddress"])
        log.info("contract_deployed", contract=name, address=address, gas=tx_receipt["gasUsed"])
        return address

    async def transact(self, fields: dict[str, Any]) -> Any:
        """The tx_receipt of a transaction that succeeded."""
        eth, value = self._w3.eth, int(fields.get("value", 0))
        await self._afford(value + 1)  # with nothing for gas an endpoint estimates none, and says so in its own words
        with reaching():
            base_fee = (await eth.get_block("latest")).get("baseFeePerGas", 0)
            fees = self._fees.fresh(base_fee, await eth.max_priority_fee)
            transaction: Any = {
                "type": 2,
                "chainId": await eth.chain_id,
                "value": 0,
                **fields,
                "nonce": await eth.get_transaction_count(self._account.address, "latest"),
                "maxFeePerGas": fees.max_fee,
                "maxPriorityFeePerGas": fees.tip,
            }
            transaction["from"] = self._account.address
            transaction["gas"] = await eth.estimate_gas(transaction) * 5 // 4
            signed = self._account.sign_transaction(transaction)
        await self._afford(value + transaction["gas"] * fees.max_fee)
        try:
            with reaching():
                await eth.send_raw_transaction(signed.raw_transaction)
            return await self._mined(signed.hash)
        except ChainUnavailable as error:  # who does not know of it may pay twice
            raise ChainUnavailable(f"{error}; transaction {signed.hash.to_0x_hex()} may have been sent") from error

    async def _afford(self, wei: int) -> None:
        with reaching():
            has = await self._w3.eth.get_balance(self._account.address)
        if has < wei:
            raise StartRefused(
                "RELAY_CHAIN_KEY_FILE",
                f"{self._account.address} has {coins(has)}, and needs {coins(wei)} or more for the next transaction",
                "Send it ether on this chain, then run the command again",
            )

    async def _mined(self, tx_hash: HexBytes) -> Any:
        with reaching():
            try:
                tx_receipt = await self._w3.eth.wait_for_transaction_receipt(tx_hash, _MINED_WITHIN_SECONDS, 0.05)
            except TimeExhausted as error:
                raise ChainUnavailable(f"no block has taken it within {_MINED_WITHIN_SECONDS} s") from error
        if tx_receipt["status"] != 1:
            raise ChainRejected(f"transaction {tx_hash.to_0x_hex()} was reverted")
        return tx_receipt
