"""One account's own transactions, beside an endpoint that fails at the wrong moment."""

from __future__ import annotations

import pytest
from eth_account import Account

from coordinator.chain.deploy import Deployer
from coordinator.chain.errors import ChainRejected, ChainUnavailable
from coordinator.chain.fees import FeePolicy
from coordinator.chain.rpc import connect, disconnect
from tests.fakes.json_rpc import QuietChain, json_rpc
from tests.unit.store.network import node_address

ACCOUNT = Account.from_key("0x" + "11" * 32)


async def fails(chain: QuietChain) -> str:
    async with json_rpc(chain) as url:
        w3 = connect(url)
        with pytest.raises((ChainUnavailable, ChainRejected)) as failed:
            await Deployer(w3, ACCOUNT, FeePolicy()).transact({"to": node_address(1), "data": "0x"})
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
    assert "underpriced" in said
    assert "may have been sent" not in said
