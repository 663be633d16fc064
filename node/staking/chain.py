"""A connection to an EVM node: reads, tries, sends, waits. Failures are a StakingError or the contract's Refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from eth_account.datastructures import SignedTransaction
from eth_account.signers.local import LocalAccount
from eth_utils.abi import function_abi_to_4byte_selector, get_abi_input_types
from pydantic import SecretStr
from web3 import AsyncWeb3
from web3.exceptions import ContractLogicError, TimeExhausted, Web3Exception, Web3RPCError

from contracts import artifact
from contracts.endpoint import ClientError, Endpoint, words_of
from coordinator.protocol.amounts import coins
from node.staking.errors import Interrupted, Refused, StakingError, Unreachable

_TIMEOUT_SECONDS = 20
# Fifteen blocks of Ethereum; with fees of twice the base fee a transaction waits for one or two.
_MINED_WITHIN_SECONDS = 180
# More than any of our transactions takes; what this one takes can't be asked for an account that lacks the value.
_MOST_GAS = 200_000
_GWEI = 10**9
_ERRORS: list[Any] = [
    entry for name in ("NodeRegistry", "TaskRegistry") for entry in artifact(name).abi if entry["type"] == "error"
]


@dataclass(frozen=True, slots=True)
class Mined:
    """`fee_wei`: what the transaction cost beside what it carried."""

    tx_hash: str
    block: int
    fee_wei: int


class EvmNode:
    """`close` it. Nothing is retried: who typed the command sees what failed, and types it again."""

    def __init__(self, url: SecretStr) -> None:
        self.w3: AsyncWeb3[Any] = AsyncWeb3(Endpoint(url.get_secret_value(), _TIMEOUT_SECONDS), middleware=[])

    async def close(self) -> None:
        await self.w3.provider.disconnect()

    async def chain_id(self) -> int:
        with self.reaching():
            return int(await self.w3.eth.chain_id)

    async def code(self, address: str) -> bytes:
        with self.reaching():
            return bytes(await self.w3.eth.get_code(address))  # type: ignore[arg-type]

    async def transact(self, account: LocalAccount, to: str, data: str, wei: int = 0) -> Mined:
        """Tried first, at no cost; then sent, and waited for until a block has it."""
        transaction: dict[str, Any] = {"from": account.address, "to": to, "data": data, "value": wei}
        with self.reaching():
            balance, fees = await self.w3.eth.get_balance(account.address), await self._fees()
            if balance < wei:  # else the endpoint would say so, each in words of its own
                raise _poor(account, balance, wei + _MOST_GAS * fees["maxFeePerGas"])
            await self.w3.eth.call(transaction)  # type: ignore[arg-type]
            gas = await self.w3.eth.estimate_gas(transaction) * 5 // 4  # type: ignore[arg-type]
            if balance < wei + gas * fees["maxFeePerGas"]:
                raise _poor(account, balance, wei + gas * fees["maxFeePerGas"])
            nonce = await self.w3.eth.get_transaction_count(account.address, "pending")
            fields: dict[str, Any] = {
                "type": 2,
                "chainId": await self.w3.eth.chain_id,
                "nonce": nonce,
                "gas": gas,
                **fees,
            }
            unsigned: dict[str, Any] = {"to": to, "data": data, "value": wei, **fields}
            signed = account.sign_transaction(unsigned)
        return await self._send(signed, transaction)

    async def _fees(self) -> dict[str, int]:
        """EIP-1559: twice the base fee outlasts six full blocks in a row; what is not used up is not paid."""
        base = (await self.w3.eth.get_block("latest")).get("baseFeePerGas", 0)
        tip = await self.w3.eth.max_priority_fee
        return {"maxFeePerGas": 2 * base + tip, "maxPriorityFeePerGas": tip}

    async def _send(self, signed: SignedTransaction, transaction: dict[str, Any]) -> Mined:
        """From here on it may be mined, whatever is heard of it: it is named, so that nobody pays twice."""
        name = signed.hash.to_0x_hex()
        try:
            with self.reaching():
                await self.w3.eth.send_raw_transaction(signed.raw_transaction)
                found: Any = await self.w3.eth.wait_for_transaction_receipt(signed.hash, _MINED_WITHIN_SECONDS, 0.1)
                fee_wei = found["gasUsed"] * found["effectiveGasPrice"]
        except asyncio.CancelledError:  # Ctrl-C
            raise Interrupted(_in_doubt("Interrupted.", name)) from None
        except Unreachable as error:
            raise StakingError(_in_doubt(str(error), name)) from None
        if found["status"] != 1:
            with self.reaching():
                await self.w3.eth.call(transaction)  # type: ignore[arg-type]  # says why, if it still fails
            raise StakingError(f"Transaction {name} was undone by the contract: try again.")
        return Mined(name, found["blockNumber"], fee_wei)

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Endpoints' URLs hold keys, and aiohttp tells them in its messages: only a failure's kind is passed on."""
        try:
            yield
        except StakingError:
            raise
        except ContractLogicError as error:
            raise self._refused(error) from error
        except Web3RPCError as error:
            raise StakingError(f"The endpoint of NODE_RPC_URL refuses: {words_of(error).rstrip('.')}.") from error
        except TimeExhausted as error:
            raise Unreachable(f"No block has taken it within {_MINED_WITHIN_SECONDS} s.") from error
        except (ClientError, OSError, TimeoutError, Web3Exception, ValueError) as error:
            raise Unreachable(
                f"The chain can't be reached ({_kind(error)}): check NODE_RPC_URL, and that the endpoint is up."
            ) from error
        # web3 trips over answers of a shape it doesn't expect
        except (LookupError, TypeError, AttributeError) as error:
            raise Unreachable("What answers at NODE_RPC_URL is no EVM node: correct it.") from error

    def _refused(self, error: ContractLogicError) -> Refused:
        raw = error.data if isinstance(error.data, str) and error.data.startswith("0x") else "0x"
        data = bytes.fromhex(raw[2:])
        for entry in _ERRORS:
            if data[:4] == function_abi_to_4byte_selector(entry):
                values = self.w3.codec.decode(get_abi_input_types(entry), data[4:])
                kinds = [part["type"] for part in entry["inputs"]]
                return Refused(entry["name"], tuple(map(_readable, kinds, values)))
        return Refused(str(error.message)[:300])


def _readable(kind: str, value: Any) -> Any:
    return AsyncWeb3.to_checksum_address(value) if kind == "address" else value


def _kind(error: Exception) -> str:
    status = getattr(error, "status", None)  # of an answer that isn't JSON-RPC's, such as 401
    return f"{type(error).__name__}, HTTP {status}" if status else type(error).__name__


def _in_doubt(why: str, name: str) -> str:
    return f"{why} Transaction {name} may have been sent: look with python -m node stake before you try again."


def _poor(account: LocalAccount, balance: int, most: int) -> StakingError:
    most = -(-most // _GWEI) * _GWEI  # fees to the wei are not to be read, nor typed
    return StakingError(
        f"The provider {account.address} has {coins(balance)}, and this takes up to {coins(most)}, fees included: "
        f"send it {coins(most - balance)} on this chain first."
    )
