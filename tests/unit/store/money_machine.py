"""Law: what was paid in = what is left + what is held + the ledger's charges, to the nano-dollar, after any order of
submits, ends, retries, cancels and crashes; no task is charged twice; all that is affordable passes, and nothing else.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from redis.asyncio import Redis

from coordinator.errors import InsufficientCredits, InvalidRequest, KeyBudgetExhausted, UpstreamError
from coordinator.lifecycle.keys import NewKey
from coordinator.lifecycle.money import Bill, Price, Tokens
from coordinator.lifecycle.order import Order
from coordinator.lifecycle.usage import KeyBudget
from coordinator.protocol.ids import TaskId
from coordinator.store.keyring import KeyRing
from coordinator.store.money import Purse
from tests.unit.store.network import MODEL, PATIENT, REQUEST, Network, counting_ids

BUDGETS = (None, 0, 300, 10**6)
AMOUNTS = st.integers(1, 2000)
TOKENS = st.integers(0, 60)


@dataclass
class Account:
    """What must be true, kept with plain integers."""

    paid: int = 0
    left: int = 0
    spent: int = 0


@dataclass
class Key:
    budget: int | None
    held: int = 0
    spent: int = 0


@dataclass
class Call:
    """A task or a call that was let through, until it has ended."""

    bill: Bill
    key: int
    kind: Literal["task", "call"]


def charge_of(bill: Bill, tokens: Tokens) -> int:
    within = Tokens(min(tokens.prompt, bill.most.prompt), min(tokens.completion, bill.most.completion))
    return bill.price.of(within)


class MoneyMachine(RuleBasedStateMachine):
    """Subclasses say which Redis."""

    def connect(self) -> Redis:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = self.connect()
        self.run(self.redis.flushall())
        self.network = Network(self.redis, PATIENT, counting_ids())
        self.purses = [Purse(self.redis, self.network.scripts) for _ in range(2)]
        self.account = Account()
        self.keys: list[Key] = [Key(budget) for budget in BUDGETS]
        self.ids: list[str] = []
        self.running: dict[TaskId, Call] = {}
        self.over: list[tuple[TaskId, Bill]] = []
        self.charges: dict[str, int] = {}
        self.requests = 0

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        self.run(self.redis.aclose())
        self.runner.close()

    @initialize()
    def begin(self) -> None:
        ring = KeyRing(self.redis)
        for budget in BUDGETS:
            self.ids.append(self.run(ring.create(NewKey("a key", "acme", "basic", budget_nano=budget)))[1].key_id)
        self.node = self.run(self.network.sign_in(1, slots=50))
        self.credit(3000)

    # ── what operators, clients, nodes, time and accidents do ───────────────

    @rule(amount=st.integers(-800, 3000).filter(bool))
    def credit(self, amount: int) -> None:
        try:
            self.run(self.purses[0].credit("acme", amount))
        except InvalidRequest:
            assert self.account.left + amount < 0
        else:
            self.account.paid += amount
            self.account.left += amount

    @rule(number=st.integers(0, 3), amount=AMOUNTS)
    def top_up(self, number: int, amount: int) -> None:
        self.run(KeyRing(self.redis).top_up("acme", self.ids[number], amount))
        key = self.keys[number]
        key.budget = (key.spent if key.budget is None else key.budget) + amount

    @rule(
        number=st.integers(0, 3), most=st.tuples(TOKENS, TOKENS), price=st.tuples(st.integers(0, 9), st.integers(0, 9))
    )
    def submit(self, number: int, most: tuple[int, int], price: tuple[int, int]) -> None:
        bill = self._bill(number, most, price)
        self._let_in(number, bill, "task", lambda: self.network.submit(bill=bill))

    @rule(
        number=st.integers(0, 3), most=st.tuples(TOKENS, TOKENS), price=st.tuples(st.integers(0, 9), st.integers(1, 9))
    )
    def call(self, number: int, most: tuple[int, int], price: tuple[int, int]) -> None:
        bill = self._bill(number, most, price)
        if not bill.amount:
            return
        task = self.network.ids("direct")

        async def reserve() -> TaskId:
            for purse in self.purses:  # the first answer was lost
                await purse.reserve(task, bill)
            return task

        self._let_in(number, bill, "call", reserve)

    def _bill(self, number: int, most: tuple[int, int], price: tuple[int, int]) -> Bill:
        return Bill("acme", self.ids[number], "opengpu", "openai.m", Price(*price), Tokens(*most))

    def _let_in(self, number: int, bill: Bill, kind: Literal["task", "call"], ask: Any) -> None:
        key, amount = self.keys[number], bill.amount
        held = sum(call.bill.amount for call in self.running.values() if call.key == number)
        in_budget = not amount or key.budget is None or key.budget - key.spent - held >= amount
        try:
            task = self.run(ask())
        except KeyBudgetExhausted:
            assert not in_budget
        except InsufficientCredits:
            assert in_budget
            assert self.account.left < amount
        else:
            assert in_budget
            assert not amount or self.account.left >= amount
            self.account.left -= amount
            self.running[task] = Call(bill, number, kind)

    @rule(data=st.data(), kept=st.booleans(), tokens=st.tuples(TOKENS, TOKENS))
    def complete(self, data: st.DataObject, kept: bool, tokens: tuple[int, int]) -> None:
        task = self._some(data)
        if task is not None:
            self._complete(task, kept, tokens)

    @rule(number=st.integers(0, 3), price=st.tuples(st.integers(0, 9), st.integers(1, 9)), data=st.data())
    def spend(self, number: int, price: tuple[int, int], data: st.DataObject) -> None:
        """A call from its beginning to its end: by chance alone there are few."""
        before = set(self.running)
        self.call(number, data.draw(st.tuples(TOKENS, TOKENS)), price)
        for task in set(self.running) - before:
            self._complete(task, data.draw(st.booleans()), data.draw(st.tuples(TOKENS, TOKENS)))

    def _complete(self, task: TaskId, kept: bool, tokens: tuple[int, int]) -> None:
        call, used = self.running[task], Tokens(*tokens)
        if call.kind == "task":
            used = Tokens(3, 4)
            assert self.run(self.network.complete(self._attempt(task), self.node)) is None
        elif kept:
            usage = b'{"prompt_tokens":%d,"completion_tokens":%d}' % tokens
            text = b"x" * 60
            answer = b'{"model":"m","choices":[{"message":{"content":"' + text + b'"}}],"usage":' + usage + b"}"
            order = Order("direct", MODEL, REQUEST, call.bill.key_id, bill=call.bill)
            self.run(self.network.tasks.keep(task, order, datetime.now(UTC), answer))
        else:
            self.run(self.purses[1].settle(task, call.bill, used))
        self._ended(task, charge_of(call.bill, used))

    @rule(data=st.data(), how=st.sampled_from(["refused", "cancel", "deadline", "let go"]))
    def come_to_nothing(self, data: st.DataObject, how: str) -> None:
        task = self._some(data)
        if task is None:
            return
        call = self.running[task]
        if call.kind == "call" and how == "deadline":
            self.run(self.redis.zadd("relay:holds", {task: 0}))
            self.run(self.network.tasks.sweep())
        elif call.kind == "call":
            self.run(self.purses[0].settle(task, call.bill, None))
        elif how == "cancel":
            self.run(self.network.tasks.cancel(task, call.bill.key_id))
        elif how == "deadline":
            self.run(self.redis.zadd("relay:deadlines", {task: 0}))
            self.run(self.network.tasks.sweep())
        else:
            number = int(self._attempt(task).rpartition("#")[2])
            self.run(self.network.tasks.give_up_attempt(task, number, self.node, "refused", UpstreamError("no")))
        self._ended(task, None)

    @rule(data=st.data())
    def lease_ends(self, data: st.DataObject) -> None:
        """The attempt is lost: another one follows, or the third was the last."""
        tasks = sorted(task for task, call in self.running.items() if call.kind == "task")
        if not tasks:
            return
        task = data.draw(st.sampled_from(tasks))
        self.run(self.network.end_lease(self._attempt(task)))
        if self.run(self.network.tasks.read(task)).terminal:
            self._ended(task, None)

    @rule(data=st.data())
    def late(self, data: st.DataObject) -> None:
        """Whatever has ended is ended again, by a process or a node that doesn't know."""
        if not self.over:
            return
        task, bill = data.draw(st.sampled_from(self.over))
        if task.startswith("opengpu:"):
            for number in (1, 2, 3):
                self.run(self.network.complete(f"{task}#{number}", self.node))
            with suppress(KeyBudgetExhausted, InsufficientCredits):
                self.run(self.network.tasks.cancel(task, bill.key_id))
        else:
            self.run(self.purses[0].settle(task, bill, Tokens(60, 60)))
            self.run(self.purses[0].renew(task))
        self.run(self.network.tasks.sweep())

    def _some(self, data: st.DataObject) -> TaskId | None:
        return data.draw(st.sampled_from(sorted(self.running))) if self.running else None

    def _attempt(self, task: TaskId) -> str:
        return f"{task}#{self.run(self.network.tasks.read(task)).attempt}"

    def _ended(self, task: TaskId, charge: int | None) -> None:
        call = self.running.pop(task)
        self.over.append((task, call.bill))
        self.account.left += call.bill.amount - (charge or 0)
        self.account.spent += charge or 0
        self.keys[call.key].spent += charge or 0
        if charge is not None:
            self.requests += 1
        if charge:
            self.charges[task] = charge

    # ── what must hold after every step ─────────────────────────────────────

    @invariant()
    def the_law(self) -> None:
        self.run(self._check())

    async def _check(self) -> None:
        balance, account = await self.purses[0].balance("acme"), self.account
        held = sum(call.bill.amount for call in self.running.values())
        entries = await self.purses[0].entries("acme")
        charges = [entry for entry in entries if entry.kind == "charge"]
        assert sum(entry.nano for entry in entries if entry.kind == "credit") == balance.paid == account.paid
        assert balance.paid == balance.left + balance.held + sum(entry.nano for entry in charges)
        assert (balance.left, balance.held, balance.spent) == (account.left, held, account.spent)
        assert len({entry.task_id for entry in charges}) == len(charges), "a task charged twice"
        assert {entry.task_id: entry.nano for entry in charges} == self.charges
        assert balance.left >= 0
        for number, key_id in enumerate(self.ids):
            key = self.keys[number]
            mine = sum(call.bill.amount for call in self.running.values() if call.key == number)
            assert await self.purses[0].budget(key_id) == KeyBudget(key.budget, mine, key.spent)
            # a key that gets its first budget may have more under way than that
            assert key.budget is None or BUDGETS[number] is None or key.spent + mine <= key.budget
        today = datetime.now(UTC).date()
        usage = await self.purses[0].usage("acme", today, today)
        assert sum(row.nano for row in usage) == account.spent
        assert sum(row.requests for row in usage) == self.requests
        holds = {name.decode().removeprefix("relay:hold:") for name in await self.redis.keys("relay:hold:*")}
        assert holds == set(self.running)
