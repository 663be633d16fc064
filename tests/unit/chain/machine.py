"""Law: every record that becomes pending ends confirmed, exactly once on chain, or failed with a reason,
whatever is killed, cut off, overtaken, reorganised or rewound."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coordinator.chain.errors import ChainUnavailable
from coordinator.chain.fees import GWEI, FeePolicy
from coordinator.chain.items import Leg
from coordinator.chain.policy import SendingPolicy, WriterPolicy
from coordinator.chain.ports import TaskStatus
from coordinator.chain.rounds import Rounds
from coordinator.errors import StoreUnavailable
from tests.fakes.chain import FORGED_ATTEMPT, FakeChain, FakeSigner
from tests.fakes.chain_accidents import Fuse, Killed, Mortal
from tests.fakes.chain_benches import Bench
from tests.fakes.chain_tasks import Task

PAYMENT = 1000
# reasons that an accident of the test can bring about; any other failure is a bug
ACCIDENTS = {"TRANSACTION_REVERTED", "REFUSED_BY_ENDPOINT", "NOT_OPEN", "OPENING_FAILED"}
_NOW = timedelta()
POLICY = WriterPolicy(
    confirmations=2,
    batch_wait=timedelta(seconds=1),
    idle_look=timedelta(seconds=2),
    longest_look=timedelta(seconds=2),
    sending=SendingPolicy(
        batch_size=4,
        in_flight=4,
        rebroadcast=timedelta(seconds=2),
        bump=timedelta(seconds=6),
        alarm=2,
        refusals=3,
        patience=timedelta(seconds=2),
        deposit_patience=_NOW,
    ),
    fees=FeePolicy(cap=10_000 * GWEI),
)


class WriterMachine(RuleBasedStateMachine):
    """Subclasses say which outbox. Time is the test's own."""

    def bench(self) -> Bench:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = 1_000_000.0
        self.chain, self.fuse = FakeChain(), Fuse()
        self.tasks: dict[str, Task] = {}
        self.ended: dict[str, str] = {}
        self.store = self.run(self.new_bench())

    async def new_bench(self) -> Bench:
        return self.bench()

    @initialize()
    def start(self) -> None:
        self.restart()
        self.submit(3)
        self.end("completed", 2)

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        self.run(self.finish())
        self.runner.close()

    # ── clients and time ────────────────────────────────────────────────────

    @rule(count=st.integers(1, 6))
    def submit(self, count: int) -> None:
        for _ in range(count):
            task = Task(len(self.tasks), payment_wei=PAYMENT)
            self.tasks[task.id] = task
            self.run(self.store.write(task.id, task.submitted(), Leg.OPENING, len(self.tasks)))

    @rule(how=st.sampled_from(["completed", "completed", "failed", "forged"]), count=st.integers(1, 6))
    def end(self, how: str, count: int) -> None:
        for task in [task for task in self.tasks.values() if task.id not in self.ended][:count]:
            if how == "forged":
                task.attempt = FORGED_ATTEMPT
            fields = task.failed() if how == "failed" else task.completed()
            self.ended[task.id] = how
            self.run(self.store.write(task.id, fields, Leg.SETTLEMENT, len(self.tasks)))

    @rule(seconds=st.sampled_from([0.3, 1.0, 3.0, 10.0]), rounds=st.integers(1, 4))
    def time_passes(self, seconds: float, rounds: int) -> None:
        for _ in range(rounds):
            self.now += seconds
            self.run(self.round())
        self.chain.unreachable = self.chain.refuse_all = False

    @rule()
    def mine(self) -> None:
        self.chain.mine()
        self.chain.mine_empty()

    # ── accidents ───────────────────────────────────────────────────────────

    @rule()
    def restart(self) -> None:
        self.run(self.take_over())

    @rule(calls=st.integers(0, 12), after=st.booleans())
    def kill(self, calls: int, after: bool) -> None:
        """Within the next rounds, in some call."""
        self.fuse.left, self.fuse.after, self.fuse.accident = calls, after, None

    @rule(calls=st.integers(0, 12), depth=st.integers(1, 6), how=st.sampled_from(["rewind", "reorganise", "mine"]))
    def meanwhile(self, calls: int, depth: int, how: str) -> None:
        """Not between two rounds but in the middle of one."""
        accidents: dict[str, Callable[[], object]] = {
            "rewind": lambda: self.chain.rewind(depth),
            "reorganise": lambda: (self.chain.reorganise(depth, forget=False), self.chain.mine()),
            "mine": lambda: (self.chain.mine(), self.chain.mine_empty(depth)),
        }
        self.fuse.left, self.fuse.after, self.fuse.accident = calls, True, accidents[how]

    @rule()
    def toggle_automine(self) -> None:
        self.chain.automine = not self.chain.automine

    @rule(depth=st.integers(1, 5), forget=st.booleans())
    def reorganise(self, depth: int, forget: bool) -> None:
        self.chain.reorganise(depth, forget=forget)

    @rule(depth=st.integers(1, 30))
    def rewind(self, depth: int) -> None:
        self.chain.rewind(depth)

    @rule()
    def lose_pool(self) -> None:
        self.chain.mempool = {}

    @rule()
    def sign_elsewhere(self) -> None:
        self.chain.foreign_transaction()

    @rule()
    def cut_off(self) -> None:
        """Until some time has passed."""
        self.chain.unreachable = True

    @rule(gwei=st.sampled_from([1, 5, 60]))
    def price(self, gwei: int) -> None:
        self.chain.base_fee, self.chain.picky = gwei * GWEI, not self.chain.picky

    @rule(wei=st.sampled_from([0, 1500, 10**18]))
    def change_deposit(self, wei: int) -> None:
        self.chain.state.deposit = wei

    @rule()
    def revert(self) -> None:
        self.chain.revert_next = True

    @rule()
    def refuse(self) -> None:
        """Until some time has passed."""
        self.chain.refuse_all = True

    # ── the law ─────────────────────────────────────────────────────────────

    @invariant()
    def nothing_is_written_twice(self) -> None:
        writes = Counter(self.chain.state.writes)
        assert not writes or max(writes.values()) == 1
        assert set(address for address, _ in writes) <= {task.address for task in self.tasks.values()}

    async def take_over(self) -> None:
        outbox = self.store.writer()
        await outbox.take_over()
        self.fuse.left, self.fuse.dead = -1, False
        chain, mortal = Mortal(self.chain, self.fuse), Mortal(outbox, self.fuse)
        self.rounds = Rounds(chain, FakeSigner(), mortal, POLICY, lambda: self.now)

    async def round(self) -> None:
        try:
            await self.rounds.round()
        except (ChainUnavailable, StoreUnavailable):
            pass
        except Killed:
            await self.take_over()

    async def finish(self) -> None:
        """Every accident ends, somebody pays in, and then all must come to rest."""
        chain = self.chain
        chain.unreachable = chain.revert_next = chain.refuse_all = False
        chain.automine, chain.base_fee = True, GWEI
        if not hasattr(self, "rounds"):
            return
        await self.take_over()
        for _ in range(200):
            chain.state.deposit = 10**18
            chain.mine()
            chain.mine_empty()
            self.now += 3.0
            await self.round()
            if await self.at_rest():
                break
        await self.judge()

    async def at_rest(self) -> bool:
        ledger = await self.store.writer().load()
        due = [await self.store.listed(leg) for leg in Leg]
        rewound = any([not await self.stands(task) for task in self.tasks.values()])
        return not (ledger.flight or ledger.mined or any(due) or rewound)

    async def stands(self, task: Task) -> bool:
        record = await self.store.record(task.id)
        on_chain = await self.chain.task(task.address)
        return not (record["opening"] == "confirmed" and on_chain.status is TaskStatus.NONE)

    async def judge(self) -> None:
        paid = 0
        for task in self.tasks.values():
            record, on_chain = await self.store.record(task.id), await self.chain.task(task.address)
            self.judge_leg(task, record, Leg.OPENING)
            if task.id not in self.ended:
                assert record["settlement"] == "none"
                continue
            self.judge_leg(task, record, Leg.SETTLEMENT)
            if record["settlement"] == "confirmed":
                how = self.ended[task.id]
                assert how != "forged"
                assert on_chain.status == (TaskStatus.FAILED if how == "failed" else TaskStatus.COMPLETED)
                paid += PAYMENT if how == "completed" else 0
        assert sum(self.chain.state.credit.values()) >= paid

    def judge_leg(self, task: Task, record: dict[str, str], leg: Leg) -> None:
        written = Counter(self.chain.state.writes)[task.address, leg]
        if record[leg] == "confirmed":
            place = self.chain.state.places[task.address, leg]
            assert written == 1, record
            assert (record[f"{leg}_tx"], record[f"{leg}_block"]) == (place.tx_hash, str(place.block_number)), record
            assert f"{leg}_error" not in record
        else:
            assert record[leg] == "failed", record
            forged = leg is Leg.SETTLEMENT and self.ended[task.id] == "forged"
            assert record[f"{leg}_error"] in ACCIDENTS | ({"BAD_SIGNATURE"} if forged else set()), record
