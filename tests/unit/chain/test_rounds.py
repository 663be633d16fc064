"""What the writer does, step by step, on a fake chain and a fake store; the law as a whole is in test_machine.py."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from coordinator.chain.errors import ChainUnavailable, StartRefused
from coordinator.chain.fees import GWEI, FeePolicy
from coordinator.chain.items import Leg
from coordinator.chain.policy import WriterPolicy
from coordinator.chain.ports import Chain, Signer, TaskOnChain, TaskStatus
from coordinator.chain.rounds import Rounds
from coordinator.chain.writer import ChainWriter
from tests.fakes.chain import FakeChain, FakeSigner
from tests.fakes.chain_benches import FakeBench
from tests.fakes.chain_tasks import Task
from tests.unit.chain.machine import POLICY


class Desk:
    """A writer's rounds with time in the test's hand."""

    def __init__(self, policy: WriterPolicy = POLICY) -> None:
        self.chain, self.bench, self.now, self.policy = FakeChain(), FakeBench(), 1_000_000.0, policy

    async def start(self) -> Desk:
        outbox = self.bench.writer()
        await outbox.take_over()
        self.rounds = Rounds(self.chain, FakeSigner(), outbox, self.policy, lambda: self.now)
        return self

    async def after(self, seconds: float) -> None:
        self.now += seconds
        await self.rounds.round()

    async def blocks_pass(self, count: int) -> None:
        """Without our transactions; time enough between them for higher fees."""
        for _ in range(count):
            self.chain.mine_empty()
            await self.after(7)

    async def submit(self, count: int, **fields: int) -> list[Task]:
        tasks = [Task(number, **fields) for number in range(count)]
        for task in tasks:
            await self.bench.write(task.id, task.submitted(), Leg.OPENING)
        return tasks

    async def end(self, tasks: list[Task]) -> None:
        for task in tasks:
            await self.bench.write(task.id, task.completed(), Leg.SETTLEMENT)

    async def states(self, leg: Leg = Leg.OPENING) -> list[str]:
        return [str(record[leg]) for record in self.bench.shelf.records.values()]


@pytest.fixture
async def desk() -> Desk:
    return await Desk().start()


async def test_sent_then_mined_then_confirmed(desk: Desk) -> None:
    (task,) = await desk.submit(1)
    desk.chain.automine = False
    await desk.after(0)
    assert await desk.states() == ["sent"]
    desk.chain.mine()
    await desk.after(1)
    record = await desk.bench.record(task.id)
    assert (record["opening"], record["opening_block"]) == ("sent", "1")
    desk.chain.mine_empty()
    await desk.after(3)
    assert await desk.states() == ["confirmed"]


async def test_batches_are_no_larger_than_they_may_be(desk: Desk) -> None:
    await desk.submit(10)
    await desk.after(0)
    assert desk.chain.state.nonce == 3
    assert set(await desk.states()) == {"sent"}


async def test_openings_leave_room_for_settlements(desk: Desk) -> None:
    tasks = await desk.submit(30)
    await desk.end(tasks)
    desk.chain.automine = False
    await desk.after(0)
    legs = [transaction[0].count('"open') for transaction in desk.chain.mempool.values()]
    assert len(legs) == POLICY.sending.in_flight
    assert "sent" in await desk.states(Leg.SETTLEMENT)


async def test_a_malformed_record_and_a_foreign_one_are_given_up(desk: Desk) -> None:
    tasks = await desk.submit(3)
    await desk.bench.write(tasks[0].id, {"request_hash": "0x12"})
    await desk.bench.write(tasks[1].id, {"task_address": "0x" + "99" * 20})
    with capture_logs() as logs:
        await desk.after(0)
    assert await desk.states() == ["failed", "failed", "sent"]
    reasons = [(await desk.bench.record(task.id))["opening_error"] for task in tasks[:2]]
    assert [reason.split(":")[0] for reason in reasons] == ["MALFORMED_RECORD", "FOREIGN_ADDRESS"]
    assert [entry["log_level"] for entry in logs if entry["event"] == "chain_given_up"] == ["error", "error"]


async def test_fees_are_raised_until_it_is_mined_and_then_no_more(desk: Desk) -> None:
    await desk.submit(1)
    desk.chain.automine = False
    await desk.after(0)
    await desk.blocks_pass(5)
    (batch,) = (await desk.bench.writer().load()).flight
    fees = [form.max_fee for form in batch.signed]
    assert len(fees) == 5
    assert fees == sorted(set(fees))
    assert (await desk.bench.record(batch.members[0].task_id))["opening_error"] == "STUCK"
    desk.chain.mine()
    await desk.after(3)
    record = await desk.bench.record(batch.members[0].task_id)
    assert (record["opening_tx"], "opening_error" in record) == (batch.newest.tx_hash, False)


async def test_fees_are_not_raised_while_no_blocks_are_made(desk: Desk) -> None:
    await desk.submit(1)
    desk.chain.automine = False
    for _ in range(10):
        await desk.after(20)
    (batch,) = (await desk.bench.writer().load()).flight
    assert len(batch.signed) == 1
    assert desk.chain.broadcasts >= 9


async def test_an_older_form_may_be_the_one_that_is_mined(desk: Desk) -> None:
    (task,) = await desk.submit(1)
    desk.chain.automine = False
    await desk.after(0)
    first = desk.chain.mempool[0]
    await desk.blocks_pass(2)
    assert desk.chain.mempool[0] != first
    desk.chain.mempool[0] = first
    desk.chain.mine()
    await desk.after(3)
    assert (await desk.bench.record(task.id))["opening_tx"] == first[1]


async def test_the_cap_is_shown_once_a_minute() -> None:
    desk = await Desk(replace(POLICY, fees=FeePolicy(cap=3 * GWEI))).start()
    (task,) = await desk.submit(1)
    desk.chain.automine, desk.chain.base_fee = False, 50 * GWEI
    with capture_logs() as logs:
        for _ in range(16):
            await desk.after(5)
    assert [entry["event"] for entry in logs].count("chain_fee_cap_reached") == 2
    assert (await desk.bench.record(task.id))["opening_error"] == "FEE_CAP_REACHED"


async def test_what_the_endpoint_never_takes_is_given_up(desk: Desk) -> None:
    (task,) = await desk.submit(1)
    desk.chain.refuse_all = True
    for _ in range(60):
        await desk.after(3)
    record = await desk.bench.record(task.id)
    assert (record["opening"], record["opening_error"]) == ("failed", "REFUSED_BY_ENDPOINT")


async def test_a_poor_account_waits_for_money(desk: Desk) -> None:
    await desk.submit(1)
    desk.chain.wealth = 0
    with capture_logs() as logs:
        for _ in range(60):
            await desk.after(3)
    assert await desk.states() == ["sent"]
    assert {entry["event"] for entry in logs if entry["log_level"] == "error"} == {"chain_account_too_poor"}
    desk.chain.wealth = 10**22
    await desk.after(3)
    await desk.after(3)
    assert desk.chain.state.writes


async def test_reverted_batches_come_back_smaller_and_end(desk: Desk) -> None:
    await desk.submit(4)
    sizes = []
    for _ in range(30):
        desk.chain.revert_next = True
        await desk.after(2)
        desk.chain.mine_empty()
        sizes = [len(batch.members) for batch in (await desk.bench.writer().load()).flight] or sizes
    assert set(await desk.states()) == {"failed", "confirmed"} or await desk.states() == ["failed"] * 4


async def test_a_batch_is_stored_before_it_is_broadcast(desk: Desk) -> None:
    tasks, stored = await desk.submit(1), []
    broadcast = desk.chain.broadcast

    async def watched(raw: str) -> None:
        stored.append([batch.raw for batch in (await desk.bench.writer().load()).flight] == [raw])
        await broadcast(raw)

    desk.chain.broadcast = watched  # type: ignore[method-assign]
    desk.chain.automine = False
    await desk.after(0)
    await desk.blocks_pass(2)
    assert stored == [True] * len(stored)
    assert len(stored) > 1
    assert len(tasks) == 1


async def test_an_opening_that_has_vanished_comes_before_the_settlement(desk: Desk) -> None:
    (task,) = tasks = await desk.submit(1)
    await desk.after(0)
    await desk.after(2)
    del desk.chain.state.tasks[task.address]
    await desk.end(tasks)
    with capture_logs() as logs:
        await desk.after(2)
        await desk.after(2)
    assert [entry["reason"] for entry in logs if entry["event"] == "chain_retry"] == ["NOT_OPEN"]
    for _ in range(6):
        desk.chain.mine_empty()
        await desk.after(2)
    record = await desk.bench.record(task.id)
    assert (record["opening"], record["settlement"], "settlement_error" in record) == ("confirmed", "confirmed", False)


async def test_what_was_settled_differently_is_given_up(desk: Desk) -> None:
    (task,) = tasks = await desk.submit(1)
    await desk.after(0)
    desk.chain.state.tasks[task.address] = TaskOnChain(TaskStatus.COMPLETED, bytes(32))
    await desk.end(tasks)
    await desk.after(2)
    await desk.after(2)
    record = await desk.bench.record(task.id)
    assert (record["settlement"], record["settlement_error"]) == ("failed", "SETTLED_DIFFERENTLY")


async def test_nothing_is_believed_of_a_chain_in_doubt(desk: Desk) -> None:
    await desk.submit(1)
    await desk.after(0)
    desk.chain.mine_empty(2)
    await desk.after(3)
    assert await desk.states() == ["confirmed"]
    desk.chain.rewind(3)
    await desk.after(3)
    assert await desk.states() == ["confirmed"]
    assert desk.chain.checked == 0
    await desk.after(POLICY.sending.patience.total_seconds())
    assert desk.chain.checked == 1
    for _ in range(4):
        desk.chain.mine_empty()
        await desk.after(3)
    assert await desk.states() == ["confirmed"]


async def test_the_writer_waits_and_says_so_once() -> None:
    desk, stop, tries = Desk(), asyncio.Event(), 0

    async def open_chain() -> tuple[Chain, Signer]:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ChainUnavailable("down")
        return desk.chain, FakeSigner()

    async def pause(seconds: float, stop: asyncio.Event) -> None:
        waits.append(seconds)
        if len(waits) == 6:
            stop.set()
        await asyncio.sleep(0)

    waits: list[float] = []
    writer = ChainWriter(desk.bench.writer(), open_chain, POLICY, pause=pause)
    with capture_logs() as logs:
        await writer.run(stop)
    assert waits[:2] == [0.2, 0.4]
    events = [entry["event"] for entry in logs]
    assert events[:3] == ["chain_unavailable", "chain_available", "chain_writer_started"]


async def test_a_refused_start_ends_the_writer() -> None:
    async def open_chain() -> tuple[Chain, Signer]:
        raise StartRefused("RELAY_CHAIN_ID", "is 1", "Correct it.")

    with pytest.raises(StartRefused, match=r"^RELAY_CHAIN_ID: is 1\. Correct it\.$"):
        await ChainWriter(FakeBench().writer(), open_chain, POLICY).run(asyncio.Event())
