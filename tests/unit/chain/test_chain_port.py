"""What the chain writer relies on of a chain and of the contracts; the fake and anvil have to agree on all of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from coordinator.chain.errors import ChainRejected
from coordinator.chain.fees import GWEI
from coordinator.chain.items import Item, Leg, code_bytes, kind_of, read_item
from coordinator.chain.ports import Skip, TaskStatus, TxReceipt
from coordinator.protocol.hashing import unhex
from tests.fakes.chain import FORGED_ATTEMPT
from tests.fakes.chain_networks import Network
from tests.fakes.chain_tasks import Task

GAS = 1_000_000


def opening(task: Task) -> Item:
    return read_item(Leg.OPENING, task.submitted())


def settlement(task: Task) -> Item:
    return read_item(Leg.SETTLEMENT, task.submitted() | task.completed())


def failure(task: Task, code: str = "UPSTREAM_TIMEOUT") -> Item:
    return read_item(Leg.SETTLEMENT, task.submitted() | task.failed(code))


def signed(network: Network, *items: Item, nonce: int, gwei: int = 10) -> tuple[str, str]:
    data = network.chain.calldata(kind_of(items[0]), list(items))
    return network.signer.sign(data, nonce, GAS, gwei * GWEI, GWEI)


async def send(network: Network, *items: Item) -> TxReceipt:
    raw, tx_hash = signed(network, *items, nonce=await network.chain.mined_nonce())
    await network.chain.broadcast(raw)
    return await mined(network, tx_hash)


async def mined(network: Network, tx_hash: str) -> TxReceipt:
    async with asyncio.timeout(10):
        while (receipt := await network.chain.tx_receipt(tx_hash)) is None:
            await asyncio.sleep(0.005)
    return receipt


@pytest.fixture
def task(network: Network) -> Task:
    return Task(1, network.space, sign=True)


@pytest.fixture
async def rich(network: Network) -> None:
    await network.pay_in(10_000)


async def test_a_task_is_opened_where_we_say(network: Network, task: Task) -> None:
    assert (await network.chain.task(task.address)).status is TaskStatus.NONE
    assert await network.chain.place_of(task.address, Leg.OPENING) is None
    receipt = await send(network, opening(task))
    assert receipt.succeeded
    assert receipt.outcomes == {task.address: None}
    assert receipt.gas_used > 21_000
    assert (await network.chain.task(task.address)).status is TaskStatus.OPEN
    place = await network.chain.place_of(task.address, Leg.OPENING)
    assert place is not None
    assert (place.tx_hash, place.block_number) == (receipt.tx_hash, receipt.block_number)
    assert await network.chain.place_of(task.address, Leg.SETTLEMENT) is None
    assert network.chain.task_address(task.key, task.request_hash) == task.address


async def test_a_bad_item_is_skipped_and_its_neighbours_are_not(network: Network, task: Task) -> None:
    await send(network, opening(task))
    other = replace(task, number=2)
    receipt = await send(network, opening(task), opening(other))
    assert receipt.outcomes == {task.address: Skip.ALREADY_OPEN, other.address: None}


@pytest.mark.usefixtures("rich")
async def test_a_settlement_is_written_once(network: Network, task: Task) -> None:
    assert (await send(network, settlement(task))).outcomes == {task.address: Skip.NOT_OPEN}
    await send(network, opening(task))
    assert (await send(network, settlement(task))).outcomes == {task.address: None}
    found = await network.chain.task(task.address)
    assert (found.status, found.result) == (TaskStatus.COMPLETED, unhex(task.response_hash))
    assert await network.chain.deposit() == 10_000 - task.payment_wei
    assert (await send(network, settlement(task))).outcomes == {task.address: Skip.ALREADY_SETTLED}
    assert (await send(network, failure(task))).outcomes == {task.address: Skip.ALREADY_SETTLED}
    assert await network.chain.place_of(task.address, Leg.SETTLEMENT) is not None


async def test_a_failure_is_written_with_its_code(network: Network, task: Task) -> None:
    assert (await send(network, failure(task))).outcomes == {task.address: Skip.NOT_OPEN}
    await send(network, opening(task))
    assert (await send(network, failure(task, "NO_CAPACITY"))).outcomes == {task.address: None}
    found = await network.chain.task(task.address)
    assert (found.status, found.result) == (TaskStatus.FAILED, code_bytes("NO_CAPACITY"))


@pytest.mark.usefixtures("rich")
async def test_a_forged_receipt_is_refused(network: Network, task: Task) -> None:
    await send(network, opening(task))
    forged = replace(settlement(task), attempt=FORGED_ATTEMPT)
    assert (await send(network, forged)).outcomes == {task.address: Skip.BAD_SIGNATURE}


async def test_without_a_deposit_nobody_is_paid(network: Network, task: Task) -> None:
    await network.pay_in(task.payment_wei)
    others = [replace(task, number=number) for number in (2, 3)]
    await send(network, *(opening(each) for each in (task, *others)))
    receipt = await send(network, *(settlement(each) for each in (task, *others)))
    assert receipt.outcomes == {
        task.address: None,
        others[0].address: Skip.INSUFFICIENT_DEPOSIT,
        others[1].address: Skip.INSUFFICIENT_DEPOSIT,
    }


async def test_what_is_not_there(network: Network) -> None:
    nowhere = "0x" + "12" * 32
    head = await network.chain.head()
    assert await network.chain.tx_receipt(nowhere) is None
    assert not await network.chain.knows(nowhere)
    assert await network.chain.block_hash(head.number) == head.hash
    assert await network.chain.block_hash(head.number + 1000) is None


async def test_a_transaction_waits_for_a_block(network: Network, task: Task) -> None:
    await network.automine(False)
    nonce = await network.chain.mined_nonce()
    raw, tx_hash = signed(network, opening(task), nonce=nonce)
    await network.chain.broadcast(raw)
    assert await network.chain.knows(tx_hash)
    assert await network.chain.tx_receipt(tx_hash) is None
    assert await network.chain.mined_nonce() == nonce
    await network.mine()
    assert (await mined(network, tx_hash)).outcomes == {task.address: None}
    assert await network.chain.mined_nonce() == nonce + 1
    with pytest.raises(ChainRejected):
        await network.chain.broadcast(signed(network, opening(task), nonce=nonce, gwei=99)[0])


async def test_only_higher_fees_replace_a_waiting_transaction(network: Network, task: Task) -> None:
    await network.automine(False)
    nonce = await network.chain.mined_nonce()
    first = signed(network, opening(task), nonce=nonce)
    await network.chain.broadcast(first[0])
    with pytest.raises(ChainRejected):
        await network.chain.broadcast(signed(network, opening(task), nonce=nonce, gwei=9)[0])
    dear = network.signer.sign(network.signer.data_of(first[0]), nonce, GAS, 20 * GWEI, 2 * GWEI)
    await network.chain.broadcast(dear[0])
    await network.mine()
    assert (await mined(network, dear[1])).outcomes == {task.address: None}
    assert await network.chain.tx_receipt(first[1]) is None
    assert await network.chain.mined_nonce() == nonce + 1


async def test_transactions_are_mined_in_the_order_of_their_nonces(network: Network, task: Task) -> None:
    await network.automine(False)
    nonce = await network.chain.mined_nonce()
    second = signed(network, failure(task), nonce=nonce + 1, gwei=50)
    first = signed(network, opening(task), nonce=nonce, gwei=10)
    await network.chain.broadcast(second[0])
    await network.chain.broadcast(first[0])
    await network.mine()
    assert (await mined(network, second[1])).outcomes == {task.address: None}


async def test_a_reorganisation_changes_hashes_and_frees_nonces(network: Network, task: Task) -> None:
    nonce = await network.chain.mined_nonce()
    receipt = await send(network, opening(task))
    assert await network.chain.block_hash(receipt.block_number) == receipt.block_hash
    await network.reorganise(1)
    assert await network.chain.block_hash(receipt.block_number) != receipt.block_hash
    assert await network.chain.tx_receipt(receipt.tx_hash) is None
    assert await network.chain.mined_nonce() == nonce
