"""Law: every ended task with a webhook is delivered at least once once its receiver is up, and never said to be
delivered without a 2xx."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from redis.asyncio import Redis

from coordinator.lifecycle.webhooks import Attempt, DeliveryState, Outcome
from coordinator.protocol.ids import TaskId
from tests.unit.store.hooked import Hooked

RECEIVERS = ("one.example:443", "two.example:443")
ACCOUNTS = ("acme", "other")
OUTCOMES = st.sampled_from(
    [Outcome(200), Outcome(204), Outcome(500, "not_2xx"), Outcome(302, "not_2xx"), Outcome(None, "timeout")]
)


class WebhookMachine(RuleBasedStateMachine):
    """Subclasses say which Redis. Two processes claim; a killed one's attempts are handed in late all the same."""

    def connect(self) -> Redis:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = self.run(self._fresh())
        self.hooked = Hooked(self.redis)
        self.account: dict[TaskId, str] = {}
        self.ended: set[TaskId] = set()
        self.confirmed: set[TaskId] = set()  # a receiver has said 2xx, and the store has been told
        self.running: list[Attempt] = []
        self.lost: list[Attempt] = []

    async def _fresh(self) -> Redis:
        redis = self.connect()
        await redis.flushall()
        return redis

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        self.run(self.finish())
        self.run(self.redis.aclose())
        self.runner.close()

    # ── what clients, receivers, time and accidents do ──────────────────────

    @rule(receiver=st.sampled_from(RECEIVERS), account=st.sampled_from(ACCOUNTS), count=st.integers(1, 4))
    def submit(self, receiver: str, account: str, count: int) -> None:
        for _ in range(count):
            self.account[self.run(self.hooked.submit(receiver=receiver, account=account))] = account

    @rule(well=st.booleans(), count=st.integers(1, 4))
    def end(self, well: bool, count: int) -> None:
        for _ in range(min(count, len(self.account) - len(self.ended))):
            self.ended.add(self.run(self.hooked.end(well=well)))

    @rule(other=st.booleans(), count=st.integers(1, 10))
    def claim(self, other: bool, count: int) -> None:
        for _ in range(count):
            attempt = self.run((self.hooked.other if other else self.hooked.hooks).claim())
            if attempt is not None:
                self.running.append(attempt)

    @rule(data=st.data(), outcome=OUTCOMES)
    def hand_in(self, data: st.DataObject, outcome: Outcome) -> None:
        if self.running:
            attempt = data.draw(st.sampled_from(self.running))
            self.running.remove(attempt)
            assert self._finish(attempt, outcome)

    @rule(data=st.data(), outcome=OUTCOMES)
    def hand_in_late(self, data: st.DataObject, outcome: Outcome) -> None:
        if self.lost:
            self._finish(data.draw(st.sampled_from(self.lost)), outcome)

    def _finish(self, attempt: Attempt, outcome: Outcome) -> bool:
        taken: bool = self.run(self.hooked.hooks.finish(attempt, outcome))
        if taken and outcome.delivered:
            self.confirmed.add(attempt.task_id)
        return taken

    @rule(rounds=st.integers(1, 9))
    def receivers_are_down(self, rounds: int) -> None:
        for _ in range(rounds):
            self.run(self.hooked.pass_time())
            while (attempt := self.run(self.hooked.hooks.claim())) is not None:
                assert not self._finish(attempt, Outcome(None, "connection_failed")) or attempt.tries < 8

    @rule()
    def pauses_pass(self) -> None:
        self.run(self.hooked.pass_time())

    @rule()
    def processes_are_killed(self) -> None:
        self.run(self.hooked.pass_time(leases=True))
        self.lost += self.running
        self.running.clear()

    @rule(data=st.data())
    def redeliver(self, data: st.DataObject) -> None:
        if self.ended:
            task_id = data.draw(st.sampled_from(sorted(self.ended)))
            self.run(self.hooked.hooks.redeliver(self.account[task_id], task_id))
            self.confirmed.discard(task_id)  # from here on it takes another 2xx

    @rule(data=st.data())
    def task_expires(self, data: st.DataObject) -> None:
        if self.ended:
            self.run(self.redis.delete(f"relay:task:{data.draw(st.sampled_from(sorted(self.ended)))}"))

    # ── what must hold after every step ─────────────────────────────────────

    @invariant()
    def the_law(self) -> None:
        self.run(self._check())

    async def _check(self) -> None:
        for task_id, account in self.account.items():
            delivery = await self.hooked.hooks.read(account, task_id)
            assert (delivery.state is DeliveryState.WAITING) == (task_id not in self.ended)
            assert delivery.state is not DeliveryState.DELIVERED or task_id in self.confirmed
            assert delivery.attempts <= 8
            assert delivery.state is not DeliveryState.FAILED or delivery.attempts == 8
            assert (await self._places(task_id, account)) == (1 if delivery.state is DeliveryState.PENDING else 0)
        holders = [attempt.task_id for attempt in self.running]
        assert len(holders) == len(set(holders)), "two holders of one delivery"
        for account in ACCOUNTS:
            for receiver in RECEIVERS:
                assert await self.redis.zcard(f"relay:webhooks:held:{account}\n{receiver}") <= 8

    async def _places(self, task_id: TaskId, account: str) -> int:
        """In how many lines or hands it is."""
        places = 0
        for receiver in RECEIVERS:
            for kind in ("line", "held"):
                queue = f"{account}\n{receiver}"
                if await self.redis.zscore(f"relay:webhooks:{kind}:{queue}", task_id) is not None:
                    places += 1
                    assert await self.redis.zscore("relay:webhooks:due", queue) is not None, "nobody will look"
        return places

    async def finish(self) -> None:
        """The receivers are up: everything that has ended and was not given up is delivered."""
        given_up = {
            task_id
            for task_id in self.ended
            if (await self.hooked.hooks.read(self.account[task_id], task_id)).state is DeliveryState.FAILED
        }
        for _ in range(2 + len(self.ended)):
            await self.hooked.pass_time(leases=True)
            while (attempt := await self.hooked.hooks.claim()) is not None:
                assert await self.hooked.hooks.finish(attempt, Outcome(200))
                self.confirmed.add(attempt.task_id)
        for task_id in self.ended:
            state = (await self.hooked.hooks.read(self.account[task_id], task_id)).state
            assert state is (DeliveryState.FAILED if task_id in given_up else DeliveryState.DELIVERED)
        assert self.confirmed >= self.ended - given_up
