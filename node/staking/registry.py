"""NodeRegistry, typed, as a provider uses it. The address is believed only when the code there is the one we know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from contracts import artifact
from node.staking.chain import EvmNode, Mined
from node.staking.errors import StakingError

_NOBODY = "0x" + "00" * 20


@dataclass(frozen=True, slots=True)
class Terms:
    """What a provider agrees to by staking; fixed for the contract's life."""

    least_wei: int
    unbonding_seconds: int
    treasury: str


@dataclass(frozen=True, slots=True)
class Held:
    """`provider` None: nobody has registered the node. `unbonds_at`: unix seconds, 0 while it stays."""

    provider: str | None
    wei: int
    unbonds_at: int
    active: bool


class NodeRegistry:
    """Open it by `open`. Raises StakingError, and Refused where the contract says no."""

    def __init__(self, chain: EvmNode, chain_id: int, address: str) -> None:
        self._chain, self.chain_id, self.address = chain, chain_id, to_checksum_address(address)
        self._contract: Any = chain.w3.eth.contract(address=self.address, abi=artifact("NodeRegistry").abi)

    @classmethod
    async def open(cls, chain: EvmNode, address: str, chain_id: int | None) -> NodeRegistry:
        """`chain_id`: the one that it must be; None takes the endpoint's."""
        return cls(chain, await known_contract(chain, "NodeRegistry", address, chain_id), address)

    async def terms(self) -> Terms:
        return Terms(await self._read("minStake"), await self._read("unbondingDelay"), await self._read("treasury"))

    async def held(self, node: str) -> Held:
        provider = await self._read("providerOf", node)
        return Held(
            None if provider == _NOBODY else provider,
            await self._read("stakeOf", node),
            await self._read("unbondsAt", node),
            await self._read("isActive", node),
        )

    async def register(self, account: LocalAccount, node: str, consent: str, wei: int) -> Mined:
        return await self._write(account, "register", node, bytes.fromhex(consent.removeprefix("0x")), wei=wei)

    async def add_stake(self, account: LocalAccount, node: str, wei: int) -> Mined:
        return await self._write(account, "addStake", node, wei=wei)

    async def unbond(self, account: LocalAccount, node: str) -> Mined:
        return await self._write(account, "unbond", node)

    async def withdraw(self, account: LocalAccount, node: str) -> Mined:
        return await self._write(account, "withdraw", node)

    async def _read(self, name: str, *args: object) -> Any:
        with self._chain.reaching():
            return await self._contract.functions[name](*args).call()

    async def _write(self, account: LocalAccount, name: str, *args: object, wei: int = 0) -> Mined:
        data = self._contract.encode_abi(name, args=list(args))
        return await self._chain.transact(account, self.address, data, wei)


class TaskRegistry:
    """What nodes have earned."""

    def __init__(self, chain: EvmNode, address: str) -> None:
        self._chain, self.address = chain, to_checksum_address(address)
        self._contract: Any = chain.w3.eth.contract(address=self.address, abi=artifact("TaskRegistry").abi)

    @classmethod
    async def open(cls, chain: EvmNode, address: str, chain_id: int | None) -> TaskRegistry:
        await known_contract(chain, "TaskRegistry", address, chain_id)
        return cls(chain, address)

    async def credit_of(self, node: str) -> int:
        with self._chain.reaching():
            return int(await self._contract.functions.creditOf(node).call())

    async def pay_out(self, account: LocalAccount, node: str) -> Mined:
        """To the node's provider, whoever asks for it and pays the fees."""
        return await self._chain.transact(
            account, self.address, self._contract.encode_abi("withdrawCredit", args=[node])
        )


async def known_contract(chain: EvmNode, name: str, address: str, chain_id: int | None) -> int:
    """The chain's id. Raises StakingError unless it is the chain asked for, with the contract that we know there."""
    found = await chain.chain_id()
    if chain_id not in (None, found):
        raise StakingError(
            f"NODE_RPC_URL is an endpoint of chain {found}, and the registry is on chain {chain_id}: change it."
        )
    code = await chain.code(address)
    if not code:
        raise StakingError(f"There is no contract at {address} on chain {found}: correct --registry or NODE_RPC_URL.")
    if not is_ours(code, name):
        raise StakingError(
            f"The contract at {address} is not the {name} of this version: don't pay into it. "
            "Correct --registry, or use the version of this software that its operator uses."
        )
    return found


def is_ours(code: bytes, name: str) -> bool:
    """Byte for byte, but for what the constructor writes into it, such as least stake, delay, treasury and domain."""
    ours = artifact(name)
    expected, found = bytearray.fromhex(ours.deployed_bytecode.removeprefix("0x")), bytearray(code)
    if len(expected) != len(found):
        return False
    for start, length in ours.immutable_references:
        found[start : start + length] = expected[start : start + length]
    return found == expected
