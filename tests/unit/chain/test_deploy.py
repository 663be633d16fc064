"""One account's own transactions, beside an endpoint that fails at the wrong moment."""

from __future__ import annotations

import pytest
from eth_account import Account

from coordinator.chain.deploy import Deployer
from coordinator.chain.errors import ChainError, ChainRejected, ChainUnavailable, StartRefused
from coordinator.chain.fees import FeePolicy
from coordinator.chain.rpc import connect, disconnect
from tests.fakes.json_rpc import QuietChain, json_rpc
from tests.unit.store.network import node_address

ACCOUNT = Account.from_key("0x" + "11" * 32)


async def fails(
    chain: QuietChain, how: tuple[type[ChainError], ...] = (ChainUnavailable, ChainRejected), value: int = 0
) -> str:
    async with json_rpc(chain) as url:
        w3 = connect(url)
        with pytest.raises(how) as failed:
            await Deployer(w3, ACCOUNT, FeePolicy()).transact({"to": node_address(1), "data": "0x", "value": value})
        await disconnect(w3)
    return str(failed.value)


@pytest.mark.parametrize("method", ["eth_sendRawTransaction", "eth_getTransactionReceipt"])
async def test_a_transaction_that_may_have_been_sent_is_named(method: str) -> None:
    """Who slashes again, because the endpoint fell silent, takes twice as much."""
    said = await fails(QuietChain(**{method: None}))
    assert "can't be reached" in said
    assert "transaction 0x" in said
    assert "may have been sent" in said


async def test_a_transaction_that_was_refused_was_not_sent() -> None:
    said = await fails(QuietChain(eth_sendRawTransaction={"error": {"code": -32000, "message": "underpriced"}}))
    assert said == "underpriced", "without the JSON around it"


# the last: 26,250 gas at 2 gwei and a tip of 1 wei
@pytest.mark.parametrize(
    ("balance", "value", "needs"),
    [(0, 0, "1 wei"), (10**9, 10**9, "1000000001 wei"), (10**13, 0, "52500000026250 wei")],
)
async def test_an_account_that_cannot_pay_is_told_so(balance: int, value: int, needs: str) -> None:
    said = await fails(QuietChain(balance), (StartRefused,), value)
    assert said.startswith(f"RELAY_CHAIN_KEY_FILE: {ACCOUNT.address} has ")
    assert f"needs {needs}" in said
    assert said.endswith("Send it ether on this chain, then run the command again")
