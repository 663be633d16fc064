"""The chain writer between a real Redis and anvil with the real contracts, and what can befall it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import replace

import pytest
import structlog
from structlog.testing import capture_logs

from coordinator.chain.errors import Superseded
from coordinator.chain.fees import GWEI, FeePolicy
from coordinator.chain.items import Leg
from coordinator.chain.ports import TaskStatus
from coordinator.chain.rounds import Rounds
from coordinator.chain.task import Task as TaskContract
from tests.fakes.chain_accidents import Fuse, Killed, Mortal
from tests.fakes.chain_tasks import NODE
from tests.integration.chain.network import PATIENCE, POLICY, AnvilNetwork, Line
from tests.parts.servers import RedisServer

DEPOSIT = 10**9


async def judge(line: Line) -> None:
    """Every record as the chain has it, and nobody paid twice."""
    network, paid = line.network, 0
    for task in line.tasks:
        record, on_chain = await line.bench.record(task.id), await network.chain.task(task.address)
        assert on_chain.status == record["outcome"]
        for leg in Leg:
            place = await network.chain.place_of(task.address, leg)
            assert place is not None
            assert (record[f"{leg}_tx"], record[f"{leg}_block"]) == (place.tx_hash, str(place.block_number))
            assert 21_000 < int(record[f"{leg}_gas"]) < 200_000
            assert f"{leg}_error" not in record
        paid += task.payment_wei if on_chain.status is TaskStatus.COMPLETED else 0
    assert await network.registry.credit_of(NODE) == paid


async def test_openings_settlements_and_failures(line: Line) -> None:
    await line.network.pay_in(DEPOSIT)
    tasks = await line.submit(25)
    await line.end(tasks[:15])
    await line.end(tasks[15:20], completed=False)
    line.start()
    records = await line.until("confirmed", "confirmed", tasks[:20])
    assert Counter(record["opening_tx"] for record in records).most_common(1)[0][1] == 10
    await line.until("confirmed", "none", tasks[20:])
    await line.end(tasks[20:])
    await line.until("confirmed", "confirmed")
    await judge(line)
    contract = TaskContract(line.network.w3, tasks[0].address)
    assert (await contract.task_id(), await contract.node()) == (tasks[0].key, NODE)


async def test_a_forged_receipt_is_given_up_and_its_neighbours_are_not(line: Line) -> None:
    await line.network.pay_in(DEPOSIT)
    tasks = await line.submit(3)
    await line.end(tasks)
    await line.bench.write(tasks[1].id, {"completion_tokens": "999999"})
    line.start()
    await line.until("confirmed", "confirmed", [tasks[0], tasks[2]])
    record = await line.bench.record(tasks[1].id)
    assert (record["settlement"], record["settlement_error"]) == ("failed", "BAD_SIGNATURE")


async def test_confirmed_only_at_its_depth(line: Line) -> None:
    line.policy = replace(POLICY, confirmations=3)
    await line.submit(2)
    line.start()
    await line.until_records(lambda record: "opening_block" in record)
    await line.network.mine()
    assert {(await line.bench.record(task.id))["opening"] for task in line.tasks} == {"sent"}
    await line.network.mine()
    await line.until("confirmed", "none")


async def test_a_reorganisation_takes_blocks_away(line: Line) -> None:
    await line.network.pay_in(DEPOSIT)
    await line.end(await line.submit(12))
    line.start()
    await line.until("confirmed", "confirmed")
    before = await line.network.chain.head()
    await line.network.reorganise(3)
    assert await line.network.chain.block_hash(before.number) != before.hash
    await line.until_on_chain()
    await judge(line)


async def test_a_chain_that_was_killed_and_restored_from_an_older_file(line: Line) -> None:
    await line.network.pay_in(DEPOSIT)
    await line.end(await line.submit(8))
    line.start()
    await line.until("confirmed", "confirmed")
    anvil = line.network.anvil
    await asyncio.to_thread(anvil.save)
    later = await line.submit(8)
    await line.end(later)
    await line.until("confirmed", "confirmed")
    last = (await line.bench.record(later[-1].id))["settlement_tx"]
    await asyncio.to_thread(anvil.kill)
    more = await line.submit(8)
    await line.end(more)
    await asyncio.to_thread(anvil.start)
    assert await line.network.chain.tx_receipt(last) is None
    await line.until_on_chain()
    await judge(line)


@pytest.mark.parametrize("method", ["broadcast", "seal"])
async def test_killed_between_storing_and_broadcasting(line: Line, method: str) -> None:
    """`seal`: stored, but the writer never heard. `broadcast`: sent, but the writer never heard."""
    network, outbox = line.network, line.bench.writer()
    await network.pay_in(DEPOSIT)
    await line.end(await line.submit(3))
    await outbox.take_over()
    ports = {"broadcast": network.chain, "seal": outbox}
    mortal = OneCall(ports[method], method)
    rounds = Rounds(
        mortal if method == "broadcast" else network.chain,
        network.signer,
        mortal if method == "seal" else outbox,
        POLICY,
        lambda: 1.0,
    )
    with pytest.raises(Killed):
        await rounds.round()
    assert len((await outbox.load()).flight) == 1
    line.start()
    await line.until("confirmed", "confirmed")
    await judge(line)


class OneCall(Mortal):
    """Dies after the first call of one method."""

    def __init__(self, port: object, method: str) -> None:
        super().__init__(port, Fuse())
        self._method = method

    def __getattr__(self, name: str) -> object:
        if name != self._method:
            return getattr(self._port, name)
        self._fuse.left, self._fuse.after = 0, True
        return super().__getattr__(name)


async def test_killed_again_and_again(line: Line) -> None:
    await line.network.pay_in(DEPOSIT)
    for number in range(8):
        await line.end(await line.submit(6), completed=number % 3 > 0)
        line.start()
        await asyncio.sleep(0.02 * number)  # where it is hit is the point, so it is hit anywhere
        await line.kill()
    line.start()
    await line.until("confirmed", "confirmed")
    await judge(line)


async def test_a_deposit_that_is_too_small(line: Line) -> None:
    await line.network.pay_in(3000)
    tasks = await line.submit(9)
    with capture_logs() as logs:
        line.start()
        await line.until("confirmed", "none")
        await line.end(tasks[:7])
        await line.end(tasks[7:], completed=False)
        await line.until("confirmed", "confirmed", tasks[7:])
        await line.until_records(
            lambda record: record["settlement"] == "confirmed" or "settlement_error" in record, tasks[:7]
        )
    states = Counter([(await line.bench.record(task.id))["settlement"] for task in tasks[:7]])
    assert states == {"confirmed": 3, "pending": 4}
    assert [entry for entry in logs if entry["event"] == "chain_deposit_too_small" and entry["log_level"] == "error"]
    await line.network.pay_in(DEPOSIT)
    await line.until("confirmed", "confirmed")
    await judge(line)


async def test_a_batch_that_pays_too_little_is_bumped(line: Line) -> None:
    network = line.network
    await network.automine(False)
    with capture_logs() as logs:
        line.start()
        await line.submit(5)
        await line.until_records(lambda record: record["opening"] == "sent")
        first = (await line.bench.record(line.tasks[0].id))["opening_tx"]
        # dearer than anything that was offered so far
        await network.rpc("anvil_setNextBlockBaseFeePerGas", hex(40 * GWEI))
        await network.mine()
        assert await network.chain.tx_receipt(first) is None
        await line.until_records(lambda record: record["opening_tx"] != first)
        await network.rpc("anvil_setIntervalMining", 1)
        await line.until("confirmed", "none")
    assert [entry for entry in logs if entry["event"] == "chain_fee_bumped"]
    assert await network.chain.tx_receipt(first) is None


async def test_the_fee_cap_holds_and_shows(line: Line) -> None:
    line.policy = replace(POLICY, fees=FeePolicy(cap=5 * GWEI))
    network = line.network
    await network.automine(False)
    line.start()
    await line.submit(2)
    await line.until_records(lambda record: record["opening"] == "sent")
    await network.rpc("anvil_setNextBlockBaseFeePerGas", hex(40 * GWEI))
    await network.mine()
    await line.until_records(lambda record: record.get("opening_error") == "FEE_CAP_REACHED")
    (batch,) = (await line.bench.writer().load()).flight
    assert batch.newest.max_fee <= 5 * GWEI
    await network.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    await network.mine()
    await network.automine(True)
    records = await line.until("confirmed", "none")
    assert all("opening_error" not in record for record in records)


async def test_the_key_is_used_elsewhere(line: Line) -> None:
    """A nonce that a stored batch had is used up by somebody else's transaction."""
    network, outbox = line.network, line.bench.writer()
    await network.pay_in(DEPOSIT)
    await line.end(await line.submit(3))
    await outbox.take_over()
    rounds = Rounds(OneCall(network.chain, "broadcast"), network.signer, outbox, POLICY, lambda: 1.0)
    await network.automine(False)
    with pytest.raises(Killed):
        await rounds.round()
    await network.rpc("anvil_dropAllTransactions")
    await network.automine(True)
    await network.sign_elsewhere()
    line.start()
    await line.until("confirmed", "confirmed")
    await judge(line)


async def test_the_chain_is_down_for_a_while(line: Line) -> None:
    await line.network.pay_in(DEPOSIT)
    anvil = line.network.anvil
    await asyncio.to_thread(anvil.save)
    await asyncio.to_thread(anvil.kill)
    with capture_logs() as logs:
        line.start()
        await line.end(await line.submit(5))
        await until_logged(logs, "chain_unavailable")
        await asyncio.sleep(1)  # long enough for several tries, which are not to be logged
        await asyncio.to_thread(anvil.start)
        await line.until("confirmed", "confirmed")
    assert Counter(entry["event"] for entry in logs)["chain_unavailable"] == 1
    await judge(line)


async def test_the_store_is_down_for_a_while(line: Line, redis_server: RedisServer) -> None:
    await line.network.pay_in(DEPOSIT)
    await line.end(await line.submit(30))
    with capture_logs() as logs:
        line.start()
        await line.until_records(lambda record: record["opening"] != "pending", line.tasks[:1])
        await asyncio.to_thread(redis_server.kill)
        await until_logged(logs, "store_unavailable")
        await asyncio.to_thread(redis_server.start)
        await line.until("confirmed", "confirmed")
    assert Counter(entry["event"] for entry in logs)["store_unavailable"] == 1
    await judge(line)


async def until_logged(logs: list[structlog.typing.EventDict], event: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while not any(entry["event"] == event for entry in logs):
            await asyncio.sleep(0.02)


async def test_a_second_writer_takes_over(line: Line, network: AnvilNetwork) -> None:
    await network.pay_in(DEPOSIT)
    stop = asyncio.Event()
    first = asyncio.create_task(line.writer().run(stop))
    await line.submit(3)
    await line.until("confirmed", "none")
    line.start()
    with pytest.raises(Superseded):
        await asyncio.wait_for(first, PATIENCE)
    await line.end(line.tasks)
    await line.until("confirmed", "confirmed")
    await judge(line)


async def test_no_task_id_and_no_key_is_logged(line: Line) -> None:
    await line.network.pay_in(DEPOSIT)
    with capture_logs() as logs:
        line.start()
        tasks = await line.submit(2)
        await line.bench.write(tasks[0].id, tasks[0].completed() | {"completion_tokens": "999999"}, Leg.SETTLEMENT)
        await line.end(tasks[1:])
        await line.until("confirmed", "failed", tasks[:1])
        await line.until("confirmed", "confirmed", tasks[1:])
    said = str(logs) + str(logging.root.manager)
    key = line.network.key_file.read_text().removeprefix("0x")
    assert not any(secret in said for secret in (tasks[0].id, tasks[1].id, key))
