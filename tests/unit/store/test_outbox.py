"""What the chain writer relies on of its outbox; on the fake, on fakeredis, and (integration/chain) on real Redis."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from coordinator.chain.batch import Batch, Member, Mined, Signed
from coordinator.chain.errors import Superseded
from coordinator.chain.items import Kind, Leg
from coordinator.chain.ports import Move, Outbox, Verdict
from tests.fakes.chain_benches import Bench, FakeBench, RedisBench
from tests.fakes.chain_tasks import Task

LATER = timedelta(hours=1)


@pytest.fixture(params=["fake", "redis"])
def bench(request: pytest.FixtureRequest) -> Bench:
    if request.param == "fake":
        return FakeBench()
    redis: Redis = request.getfixturevalue("redis")
    return RedisBench(redis)


@pytest.fixture
async def outbox(bench: Bench) -> Outbox:
    outbox = bench.writer()
    await outbox.take_over()
    return outbox


async def submit(bench: Bench, *numbers: int) -> list[Task]:
    tasks = [Task(number) for number in numbers]
    for task in tasks:
        await bench.write(task.id, task.submitted(), Leg.OPENING, 1000 + task.number)
    return tasks


async def end(bench: Bench, *tasks: Task) -> None:
    for task in tasks:
        await bench.write(task.id, task.completed(), Leg.SETTLEMENT, 2000 + task.number)


def batch_of(*tasks: Task, kind: Kind = Kind.OPEN, name: str = "b1", nonce: int = 7) -> Batch:
    place = 1000 if kind is Kind.OPEN else 2000
    members = tuple(Member(task.id, task.address, place + task.number) for task in tasks)
    return Batch(name, kind, nonce, 10**6, members, (Signed("0xaa", 10, 1),), "0xraw", 5, 5)


def mined(batch: Batch, *done: Task, block: int = 3) -> Batch:
    ids = {task.id for task in done}
    members = tuple(member for member in batch.members if member.task_id in ids)
    return batch.as_mined(Mined("0xaa", block, f"0xb{block}", 1000), members)


def done(task: Task, block: int = 3) -> Verdict:
    return Verdict(task.id, Move.DONE, tx_hash="0xaa", block=block, gas=500)


async def opened(bench: Bench, outbox: Outbox, *tasks: Task, name: str = "b1", block: int = 3) -> Batch:
    batch = batch_of(*tasks, name=name)
    assert await outbox.seal(batch)
    batch = mined(batch, *tasks, block=block)
    assert await outbox.mine(batch, [done(task, block) for task in tasks]) == []
    return batch


async def test_what_is_due_comes_oldest_first_and_only_so_many(bench: Bench, outbox: Outbox) -> None:
    tasks = await submit(bench, 3, 1, 2)
    entries = await outbox.due(Leg.OPENING, 2)
    assert [entry.task_id for entry in entries] == [tasks[1].id, tasks[2].id]
    assert [entry.due_ms for entry in entries] == [1001, 1002]
    assert entries[0].record["task_key"] == tasks[1].key
    assert entries[0].tries == 0


async def test_what_is_not_due_yet_waits(bench: Bench, outbox: Outbox) -> None:
    (task,) = await submit(bench, 1)
    await outbox.postpone(Leg.OPENING, [task.id], LATER, "why")
    assert await outbox.due(Leg.OPENING, 5) == []
    assert (await bench.record(task.id))["opening_error"] == "why"


async def test_a_settlement_waits_for_its_opening(bench: Bench, outbox: Outbox) -> None:
    tasks = await submit(bench, 1, 2)
    await end(bench, *tasks)
    assert await outbox.due(Leg.SETTLEMENT, 5) == []
    assert await outbox.seal(batch_of(tasks[1]))
    assert [entry.task_id for entry in await outbox.due(Leg.SETTLEMENT, 5)] == [tasks[1].id]


async def test_a_settlement_ends_with_its_opening(bench: Bench, outbox: Outbox) -> None:
    (task,) = await submit(bench, 1)
    await end(bench, task)
    await outbox.give_up(Leg.OPENING, task.id, "BROKEN")
    assert await outbox.due(Leg.SETTLEMENT, 5) == []
    record = await bench.record(task.id)
    assert (record["opening"], record["opening_error"]) == ("failed", "BROKEN")
    assert (record["settlement"], record["settlement_error"]) == ("failed", "OPENING_FAILED")
    assert await bench.listed(Leg.OPENING) == await bench.listed(Leg.SETTLEMENT) == {}


async def test_an_operator_can_ask_for_another_try(bench: Bench, outbox: Outbox) -> None:
    (task,) = await submit(bench, 1)
    await end(bench, task)
    await outbox.give_up(Leg.OPENING, task.id, "BROKEN")
    assert await outbox.due(Leg.SETTLEMENT, 5) == []
    operator = bench.writer()
    assert await operator.retry(Leg.OPENING, task.id)
    assert not await operator.retry(Leg.OPENING, task.id)
    record = await bench.record(task.id)
    assert (record["opening"], record["settlement"]) == ("pending", "pending")
    assert [entry.task_id for entry in await outbox.due(Leg.OPENING, 5)] == [task.id]


async def test_sealing_takes_all_or_nothing(bench: Bench, outbox: Outbox) -> None:
    tasks = await submit(bench, 1, 2, 3)
    assert await outbox.seal(batch_of(tasks[0]))
    assert not await outbox.seal(batch_of(tasks[1], tasks[0], name="b2"))
    assert set(await bench.listed(Leg.OPENING)) == {tasks[1].id, tasks[2].id}
    assert (await bench.record(tasks[0].id)) | {"opening": "sent", "opening_tx": "0xaa"} == await bench.record(
        tasks[0].id
    )
    assert (await bench.record(tasks[1].id))["opening"] == "pending"
    assert [batch.id for batch in (await outbox.load()).flight] == ["b1"]


async def test_a_batch_is_read_back_as_it_was_stored(bench: Bench, outbox: Outbox) -> None:
    tasks = await submit(bench, 1, 2)
    batch = batch_of(*tasks)
    await outbox.seal(batch)
    assert (await bench.writer().load()).flight == (batch,)
    bumped = batch.resigned(Signed("0xbb", 20, 2), "0xraw2", 9)
    await outbox.resign(bumped, "STUCK")
    assert (await bench.writer().load()).flight == (bumped,)
    assert bumped.tx_hashes == ("0xbb", "0xaa")
    record = await bench.record(tasks[0].id)
    assert (record["opening_tx"], record["opening_error"], record["opening"]) == ("0xbb", "STUCK", "sent")


async def test_batches_in_flight_come_by_nonce(bench: Bench, outbox: Outbox) -> None:
    tasks = await submit(bench, 1, 2)
    await outbox.seal(batch_of(tasks[0], name="late", nonce=10))
    await outbox.seal(batch_of(tasks[1], name="early", nonce=9))
    assert [batch.id for batch in (await outbox.load()).flight] == ["early", "late"]


async def test_every_verdict_moves_its_leg(bench: Bench, outbox: Outbox) -> None:
    good, later, bad = await submit(bench, 1, 2, 3)
    batch = batch_of(good, later, bad)
    await outbox.seal(batch)
    verdicts = [
        done(good),
        Verdict(later.id, Move.RETRY, reason="SOON", delay=LATER),
        Verdict(bad.id, Move.FAILED, reason="NEVER"),
    ]
    assert await outbox.mine(mined(batch, good), verdicts) == [bad.id]
    assert (await outbox.load()).flight == ()
    assert [member.task_id for stored in (await outbox.load()).mined for member in stored.members] == [good.id]
    record = await bench.record(good.id)
    assert {key: record[f"opening{key}"] for key in ("", "_tx", "_block", "_gas")} == {
        "": "sent", "_tx": "0xaa", "_block": "3", "_gas": "500",
    }  # fmt: skip
    record = await bench.record(later.id)
    assert (record["opening"], record["opening_error"], "opening_tx" in record) == ("pending", "SOON", False)
    assert "opening_tries" not in record
    assert list(await bench.listed(Leg.OPENING)) == [later.id]
    assert await outbox.due(Leg.OPENING, 5) == []
    assert (await bench.record(bad.id))["opening"] == "failed"


async def test_a_batch_that_did_nothing_is_not_kept(bench: Bench, outbox: Outbox) -> None:
    (task,) = await submit(bench, 1)
    batch = batch_of(task)
    await outbox.seal(batch)
    await outbox.mine(mined(batch), [Verdict(task.id, Move.RETRY, reason="AGAIN")])
    assert await bench.kept() == 0


async def test_reopening_sends_both_legs_again(bench: Bench, outbox: Outbox) -> None:
    (task,) = await submit(bench, 1)
    await end(bench, task)
    await outbox.confirm(await opened(bench, outbox, task))
    settling = batch_of(task, kind=Kind.SETTLE, name="s1")
    await outbox.seal(settling)
    assert await outbox.mine(mined(settling), [Verdict(task.id, Move.REOPEN, reason="NOT_OPEN")]) == []
    record = await bench.record(task.id)
    assert (record["opening"], record["settlement"], record["settlement_tries"]) == ("pending", "pending", "1")
    assert await outbox.due(Leg.SETTLEMENT, 5) == []
    assert len(await outbox.due(Leg.OPENING, 5)) == 1


async def test_what_comes_back_too_often_is_given_up(bench: Bench, outbox: Outbox) -> None:
    (task,) = await submit(bench, 1)
    said = []
    for name in ("b1", "b2", "b3"):
        batch = batch_of(task, name=name)
        assert await outbox.seal(batch)
        said.append(await outbox.mine(mined(batch), [Verdict(task.id, Move.RETRY, reason="REVERTED", counts=True)]))
    assert said == [[], [], [task.id]]
    record = await bench.record(task.id)
    assert (record["opening"], record["opening_error"], record["opening_tries"]) == ("failed", "REVERTED", "3")


async def test_released_legs_return_to_their_places(bench: Bench, outbox: Outbox) -> None:
    tasks = await submit(bench, 1, 2)
    batch = batch_of(*tasks)
    await outbox.seal(batch)
    assert await outbox.release(batch, "NONCE_TAKEN") == []
    assert await bench.listed(Leg.OPENING) == {tasks[0].id: 1001, tasks[1].id: 1002}
    assert (await bench.record(tasks[0].id))["opening_error"] == "NONCE_TAKEN"
    assert await bench.kept() == 0
    assert await outbox.release(batch, "NONCE_TAKEN") == []  # said twice, done once


async def test_releases_that_count_come_to_an_end(bench: Bench, outbox: Outbox) -> None:
    (task,) = await submit(bench, 1)
    said = []
    for name in ("b1", "b2", "b3"):
        await outbox.seal(batch_of(task, name=name))
        said.append(await outbox.release(batch_of(task, name=name), "REFUSED", counts=True))
    assert said == [[], [], [task.id]]
    assert (await bench.record(task.id))["opening"] == "failed"


async def test_confirmed_is_taken_back_when_the_chain_is_rewound(bench: Bench, outbox: Outbox) -> None:
    (task,) = await submit(bench, 1)
    batch = await opened(bench, outbox, task)
    await outbox.confirm(batch)
    assert (await bench.record(task.id))["opening"] == "confirmed"
    assert await outbox.remembered(0, 5) == (batch,)
    await outbox.release(batch, "REWOUND")
    record = await bench.record(task.id)
    assert (record["opening"], "opening_block" in record) == ("pending", False)
    assert await outbox.remembered(0, 5) == ()


async def test_a_record_is_kept_for_a_while_once_it_is_settled(redis: Redis) -> None:
    bench = RedisBench(redis)
    outbox = bench.writer()
    await outbox.take_over()
    (task,) = await submit(bench, 1)
    await outbox.confirm(await opened(bench, outbox, task))
    assert await redis.ttl(f"relay:record:{task.id}") == -1
    await end(bench, task)
    batch = batch_of(task, kind=Kind.SETTLE, name="b2", nonce=8)
    await outbox.seal(batch)
    settled = mined(batch, task)
    await outbox.mine(settled, [done(task)])
    await outbox.confirm(settled)
    assert 29 * 86_400 < await redis.ttl(f"relay:record:{task.id}") <= 30 * 86_400


async def test_confirmed_and_mined_again_elsewhere(bench: Bench, outbox: Outbox) -> None:
    (task,) = await submit(bench, 1)
    batch = await opened(bench, outbox, task)
    await outbox.confirm(batch)
    await outbox.mine(mined(batch, task, block=9), [done(task, 9)])
    record = await bench.record(task.id)
    assert (record["opening"], record["opening_block"]) == ("sent", "9")
    assert [stored.mined and stored.mined.block_number for stored in (await outbox.load()).mined] == [9]
    assert await outbox.remembered(0, 5) == ()


async def test_a_batch_leaves_legs_alone_that_are_no_longer_its_own(bench: Bench, outbox: Outbox) -> None:
    (task,) = await submit(bench, 1)
    old, new = batch_of(task, name="old"), batch_of(task, name="new", nonce=8)
    await outbox.seal(old)
    await outbox.release(old, "REWOUND")
    await outbox.seal(new)
    before = await bench.record(task.id)
    assert await outbox.mine(mined(old), [Verdict(task.id, Move.FAILED, reason="NEVER")]) == []
    await outbox.release(old, "REWOUND")
    assert await bench.record(task.id) == before


async def test_records_that_have_expired_are_left_out(bench: Bench, outbox: Outbox) -> None:
    gone, waiting, stays = await submit(bench, 1, 2, 3)
    batch = batch_of(gone, stays)
    await outbox.seal(batch)
    await bench.forget(gone.id)
    await bench.forget(waiting.id)
    assert await outbox.due(Leg.OPENING, 5) == []
    await outbox.mine(mined(batch, gone, stays), [done(gone), done(stays)])
    await outbox.confirm(mined(batch, gone, stays))
    await outbox.give_up(Leg.OPENING, gone.id, "WHY")
    assert await bench.record(gone.id) == await bench.record(waiting.id) == {}
    assert dict(await outbox.record(gone.id)) == {}
    assert (await outbox.record(stays.id))["opening"] == "confirmed"
    assert not await outbox.seal(batch_of(gone, name="b2"))


async def test_only_the_newest_confirmed_batches_are_remembered(bench: Bench, outbox: Outbox) -> None:
    tasks = await submit(bench, *range(1, 6))
    for task in tasks:
        batch = await opened(bench, outbox, task, name=f"b{task.number}", block=task.number)
        await outbox.confirm(batch)
        await outbox.confirm(batch)  # said twice, done once
    assert [batch.id for batch in await outbox.remembered(0, 2)] == ["b5", "b4"]
    assert [batch.id for batch in await outbox.remembered(2, 2)] == ["b3"]
    assert await bench.kept() == 3


async def test_the_newest_writer_writes(bench: Bench, outbox: Outbox) -> None:
    (task,) = await submit(bench, 1)
    newer = bench.writer()
    await newer.take_over()
    for step in (outbox.due(Leg.OPENING, 1), outbox.seal(batch_of(task)), outbox.release(batch_of(task), "WHY")):
        with pytest.raises(Superseded):
            await step
    assert await newer.seal(batch_of(task))


async def test_batches_survive_json() -> None:
    batch = mined(batch_of(Task(1), Task(2)), Task(2))
    assert Batch.from_json(batch.to_json()) == batch
    assert Batch.from_json(replace(batch, mined=None).to_json()).mined is None
