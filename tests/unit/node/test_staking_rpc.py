"""A provider's commands beside an endpoint that refuses, fails, hangs or answers nonsense: one line, never a trace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from eth_account import Account
from pydantic import SecretStr

from coordinator.protocol.session import Admission, Network
from node.check.chain import look_at_chain
from node.check.outcome import Level
from node.staking.chain import EvmNode, Mined
from node.staking.errors import StakingError
from tests.fakes.json_rpc import Answers, QuietChain, json_rpc
from tests.unit.store.network import node_address

A = node_address(1)
ACCOUNT = Account.from_key("0x" + "11" * 32)
NONSENSE: list[object] = [
    {"result": None}, {"result": "zz"}, {"result": [None]}, {"result": {"a": 1}}, {"error": "no"}, {}, [], 7,
]  # fmt: skip
REFUSAL = {"error": {"code": -32000, "message": "rate limited"}}
NETWORK = Network(
    chain_id=31337, task_registry=A, node_registry=A, admission=Admission.STAKE, stake_wei=1, broker="redis://b:1",
    models=(), now_ms=0,
)  # fmt: skip


async def asked(answers: Answers, step: Callable[[EvmNode], Awaitable[Any]]) -> str:
    """How the step fails."""
    async with json_rpc(answers) as url:
        chain = EvmNode(SecretStr(f"{url}/v3/the-key"))
        try:
            with pytest.raises(StakingError) as failed:
                await step(chain)
        finally:
            await chain.close()
    assert "the-key" not in str(failed.value)
    return str(failed.value)


@pytest.mark.parametrize("said", [*NONSENSE, REFUSAL, None], ids=str)
async def test_what_makes_no_sense_names_the_setting(said: object) -> None:
    assert "NODE_RPC_URL" in await asked(lambda _: said, lambda chain: chain.chain_id())


async def test_an_endpoint_s_refusal_is_told_in_its_own_words() -> None:
    said = await asked(lambda _: REFUSAL, lambda chain: chain.chain_id())
    assert said == "The endpoint of NODE_RPC_URL refuses: rate limited."


@pytest.mark.parametrize("said", [*NONSENSE, REFUSAL, None], ids=str)
async def test_check_goes_on_whatever_the_endpoint_answers(said: object) -> None:
    async with json_rpc(lambda _: said) as url:
        [found] = await look_at_chain(NETWORK, A, SecretStr(url))
    assert (found.name, found.level) == ("chain", Level.FAILED)


@pytest.mark.parametrize("url", ["", "http://[::1", "localhost:8545"])
async def test_check_goes_on_without_an_address(url: str) -> None:
    [found] = await look_at_chain(NETWORK, A, SecretStr(url))
    assert (found.level, "None" in found.seen) == (Level.FAILED, False)


async def pay(chain: EvmNode) -> Mined:
    return await chain.transact(ACCOUNT, A, "0x", 5)


@pytest.mark.parametrize("method", ["eth_sendRawTransaction", "eth_getTransactionReceipt"])
@pytest.mark.parametrize("said", [None, {"result": [5]}], ids=str)
async def test_a_transaction_that_may_have_been_sent_is_named(method: str, said: object) -> None:
    """Who doesn't know of it stakes twice."""
    told = await asked(QuietChain(**{method: said}), pay)
    assert "Transaction 0x" in told
    assert "may have been sent: look with python -m node stake before you try again" in told


async def test_a_transaction_that_was_refused_was_not_sent() -> None:
    told = await asked(QuietChain(eth_sendRawTransaction={"error": {"code": -32000, "message": "underpriced"}}), pay)
    assert told == "The endpoint of NODE_RPC_URL refuses: underpriced."


async def test_who_waits_no_longer_is_told_what_was_sent() -> None:
    waiting = asyncio.Event()

    async def interrupted(chain: EvmNode) -> None:
        paying = asyncio.ensure_future(pay(chain))
        await waiting.wait()
        paying.cancel()
        await paying

    told = await asked(QuietChain(eth_getTransactionReceipt=waiting), interrupted)
    assert told.startswith("Interrupted. Transaction 0x")


async def test_what_the_provider_is_told_to_send_is_enough() -> None:
    """Fees included, before they can be estimated: an account without the value can't try."""
    told = await asked(QuietChain(balance=0), pay)
    assert "fees included: send it 0.000400001 ETH" in told
    async with json_rpc(QuietChain(balance=400_001 * 10**9, eth_getTransactionReceipt=RECEIPT)) as url:
        chain = EvmNode(SecretStr(url))
        assert (await pay(chain)).block == 5
        await chain.close()


RECEIPT = {
    "result": {
        "status": "0x1", "blockNumber": "0x5", "gasUsed": "0x5208", "effectiveGasPrice": "0x1",
        "transactionHash": "0x" + "cd" * 32,
    }
}  # fmt: skip
