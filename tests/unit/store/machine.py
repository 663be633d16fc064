"""Law: whatever is lost, repeated, late or forged, a task ends once: one accepted attempt, or an honest failure."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from redis.asyncio import Redis

from coordinator.errors import ProviderUnavailable, TaskNotFound
from coordinator.lifecycle.task import TaskView
from coordinator.protocol.report import Refusal
from coordinator.store.nodes import SessionEnded
from tests.unit.store.ageing import condition, end_suspension, outage
from tests.unit.store.network import MODEL, PATIENT, Network, counting_ids, node_address

NODES = st.integers(1, 3)
OTHER = "relay/other"


class StoreMachine(RuleBasedStateMachine):
    """Subclasses say which Redis. Every attempt ever opened is tried again: late and foreign Reports."""

    def connect(self) -> Redis:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = self.run(self._fresh())
        self.network = Network(self.redis, PATIENT, counting_ids())
        self.submitted: dict[str, str] = {}
        self.ended: dict[str, TaskView] = {}
        self.accepted: dict[str, int] = {}
        self.turns: Counter[str] = Counter()
        self.attempts: list[tuple[str, str]] = []
        # what those held that have signed in anew and not beaten yet
        self.silent: dict[str, set[str]] = {}

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

    # ── what clients, nodes, time and accidents do ──────────────────────────

    @initialize(numbers=st.sets(NODES))
    def begin(self, numbers: set[int]) -> None:
        """Mostly with some nodes: without them hardly anything happens."""
        for number in sorted(numbers):
            self.sign_in(number, (MODEL,), True)

    @rule(
        model=st.sampled_from([MODEL, OTHER]),
        client=st.sampled_from(["a", "b", "c"]),
        talk=st.sampled_from(["", "one", "two"]),
        count=st.integers(1, 3),
    )
    def submit(self, model: str, client: str, talk: str, count: int) -> None:
        """Turns of two conversations among other tasks; as many as fill the node that has them, and one more."""
        for _ in range(count):
            self.turns[talk] += 1
            prefixes = tuple(f"{talk}-{turn}" for turn in range(self.turns[talk], 0, -1)) if talk else ()
            try:
                task = self.run(self.network.submit(model=model, client=client, prefixes=prefixes))
                self.submitted[task] = model
            except ProviderUnavailable:
                assert not self.run(self.network.nodes.serving([model]))

    @rule(number=NODES, models=st.sampled_from([(MODEL,), (MODEL, OTHER)]), beats=st.booleans())
    def sign_in(self, number: int, models: tuple[str, ...], beats: bool) -> None:
        """A process that has started anew may be a while before its first heartbeat."""
        node = node_address(number)
        self.run(self.network.open_session(node, models=models))
        self.silent[node] = self.run(self.network.held(node))
        if beats:
            self.beat_once(node)

    def beat_once(self, node: str, *running: str, draining: bool = False) -> None:
        self.run(self.network.beat(node, *running, draining=draining))
        self.silent.pop(node, None)

    @rule(number=NODES, lists=st.booleans(), draining=st.booleans())
    def beat(self, number: int, lists: bool, draining: bool) -> None:
        node = node_address(number)
        if node not in self.network.sessions:
            return
        try:
            running = sorted(self.run(self.network.held(node))) if lists else []
            self.beat_once(node, *running, draining=draining)
        except SessionEnded:
            pass

    @rule(number=NODES, arrives=st.booleans())
    def renew(self, number: int, arrives: bool) -> None:
        """The new session's grant may get lost on its way: then the node goes on with the one that it had."""
        node = node_address(number)
        had = self.network.sessions.get(node)
        if had is None:
            return
        with contextlib.suppress(SessionEnded):
            self.run(self.network.open_session(node, previous=had))
            if not arrives:
                self.network.sessions[node] = had

    @rule(number=NODES)
    def leave(self, number: int) -> None:
        node = node_address(number)
        with contextlib.suppress(SessionEnded):
            self.run(self.network.leave(node))

    @rule(number=NODES)
    def die(self, number: int) -> None:
        self.run(self.network.silence(node_address(number)))

    @rule(data=st.data(), number=NODES, foreign=st.booleans())
    def answer(self, data: st.DataObject, number: int, foreign: bool) -> None:
        if not self.attempts:
            return
        attempt, holder = data.draw(st.sampled_from(self.attempts))
        node = node_address(number) if foreign else holder
        refusal = self.run(self.network.complete(attempt, node, f'{{"by":"{attempt}"}}'))
        if refusal is None:
            task = attempt.rpartition("#")[0]
            self.accepted[task] = self.accepted.get(task, 0) + 1
            assert node == holder

    @rule(data=st.data(), how=st.sampled_from(["refused", "fault", "handed_back"]))
    def fail(self, data: st.DataObject, how: Any) -> None:
        if not self.attempts:
            return
        attempt, holder = data.draw(st.sampled_from(self.attempts))
        refusal = self.run(self.network.fail(attempt, holder, how))
        assert refusal in (None, Refusal.LATE, Refusal.DUPLICATE)

    @rule(number=NODES)
    def backend_breaks(self, number: int) -> None:
        """Whatever a node has goes wrong, and so does what it is given instead."""
        node = node_address(number)
        for _ in range(3):
            for attempt in sorted(self.run(self.network.held(node))):
                self.run(self.network.fail(attempt, node))

    @rule(data=st.data())
    def lease_ends(self, data: st.DataObject) -> None:
        leases = self.run(self.redis.zrange("relay:leases", 0, -1))
        if leases:
            self.run(self.network.end_lease(data.draw(st.sampled_from(sorted(leases))).decode()))

    @rule()
    def patience_ends(self) -> None:
        self.run(self.network.end_patience())

    @rule(number=NODES)
    def suspension_ends(self, number: int) -> None:
        self.run(end_suspension(self.network, node_address(number)))

    @rule(data=st.data())
    def a_stage_passes(self, data: st.DataObject) -> None:
        """Its node's next heartbeat doesn't renew the lease of that attempt, listed or not."""
        leases = self.run(self.redis.zrange("relay:leases", 0, -1))
        if leases:
            task = data.draw(st.sampled_from(sorted(leases))).decode().rpartition("#")[0]
            self.run(self.redis.hset(f"relay:task:{task}", "assigned_ms", "1"))

    @rule()
    def nobody_is_judged_for_an_outage(self) -> None:
        self.run(outage(self.network, timedelta(hours=10)))
        swept = self.run(self.network.tasks.sweep())
        assert swept.lost + swept.given_up + swept.dead == []

    @rule()
    def time_is_looked_at(self) -> None:
        self.run(self.network.tasks.sweep())

    @rule(data=st.data())
    def deadline_passes(self, data: st.DataObject) -> None:
        tasks = self.run(self.redis.zrange("relay:deadlines", 0, -1))
        if tasks:
            self.run(self.redis.zadd("relay:deadlines", {data.draw(st.sampled_from(sorted(tasks))): 0}))
            self.run(self.network.tasks.sweep())

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """By somebody who knows the id; one that has ended is cancelled in vain."""
        if self.submitted:
            task = data.draw(st.sampled_from(sorted(self.submitted)))
            self.run(self.network.tasks.cancel(task, "guest"))  # type: ignore[arg-type]
            assert self.run(self.network.tasks.read(task)).terminal  # type: ignore[arg-type]

    @rule(number=NODES)
    def broker_loses_everything(self, number: int) -> None:
        self.run(self.network.envelopes(node_address(number)))

    # ── what must hold after every step ─────────────────────────────────────

    @invariant()
    def the_law(self) -> None:
        self.run(self._check())

    async def _check(self) -> None:
        open_attempts = await self._open_attempts()
        leases = {item.decode() for item in await self.redis.zrange("relay:leases", 0, -1)}
        held: set[str] = set()
        for number in (1, 2, 3):
            mine = await self.network.held(node_address(number))
            assert len(mine) <= 2, "more than its slots"
            assert not mine & held, "two holders of one attempt"
            assert mine <= self.silent.get(node_address(number), mine), "work for who has not beaten yet"
            held |= mine
        assert open_attempts == leases == held
        for task in self.submitted:
            await self._check_task(task)
        unfinished = {
            item.decode() for name in await self.redis.keys("relay:open:*") for item in await self.redis.smembers(name)
        }
        assert unfinished == set(self.submitted) - set(self.ended), "what limits count is what has not ended"
        await self._nobody_waits_for_nothing()
        for model in (MODEL, OTHER):
            await self._check_line(model)
        await self._check_the_patient()
        await self._check_the_suspended()

    async def _open_attempts(self) -> set[str]:
        found = set()
        for task in self.submitted:
            row = {k.decode(): v.decode("latin-1") for k, v in (await self.redis.hgetall(f"relay:task:{task}")).items()}
            for number in range(1, int(row["attempt"]) + 1):
                pair = (f"{task}#{number}", row[f"attempt_node:{number}"])
                if pair not in self.attempts:
                    self.attempts.append(pair)
            opened = [n for n in range(1, int(row["attempt"]) + 1) if row[f"attempt_state:{n}"] == "open"]
            assert len(opened) <= 1, "two open attempts of one task"
            failed = [n for n in range(1, int(row["attempt"]) + 1) if row[f"attempt_state:{n}"] == "failed"]
            gave_back = Counter(row[f"attempt_node:{n}"] for n in failed)
            assert all(times <= 4 for times in gave_back.values()), "to and fro between the line and one node"
            assert bool(opened) == (row["state"] in ("assigned", "running"))
            found |= {f"{task}#{n}" for n in opened}
        return found

    async def _check_task(self, task: str) -> None:
        view = await self.network.tasks.read(task)  # type: ignore[arg-type]
        assert self.accepted.get(task, 0) == (1 if view.status == "completed" else 0)
        waits = [
            key for key in (f"relay:line:{self.submitted[task]}", "relay:patient")
            if await self.redis.zscore(key, task) is not None
        ]  # fmt: skip
        assert len(waits) == (view.state == "waiting"), "in no line, or in two"
        record = await self.network.tasks.record(task)  # type: ignore[arg-type]
        assert record["settlement"] == ("pending" if view.terminal else "none")
        before = self.ended.get(task)
        if before is not None:
            assert (before.state, before.answer, before.error_code) == (view.state, view.answer, view.error_code)
        if view.terminal:
            assert view.status == "completed" or (view.error_code and view.error_status)
            self.ended[task] = view

    async def _check_line(self, model: str) -> None:
        """What clients are counted to have in line is what they have; and a client's own tasks keep their order."""
        line = [item.decode() for item in await self.redis.zrange(f"relay:line:{model}", 0, -1)]
        rows = [await self.redis.hmget(f"relay:task:{task}", "client", "order", "attempt") for task in line]
        counts = Counter(client for client, _, _ in rows)
        queued = await self.redis.hgetall(f"relay:queued:line:{model}")
        assert {client: int(count) for client, count in queued.items()} == counts
        assert set(await self.redis.hkeys(f"relay:tags:line:{model}")) <= set(counts)
        for client in counts:
            fresh = [int(order) for whose, order, attempt in rows if whose == client and attempt == b"0"]
            assert fresh == sorted(fresh), "a client's later task before an earlier one"
        assert await self.redis.sismember("relay:lines", model) == bool(line)

    async def _check_the_suspended(self) -> None:
        """They count among those that serve, and get nothing."""
        for model in (MODEL, OTHER):
            suspended = set(await self.redis.smembers(f"relay:suspended:{model}"))
            assert suspended <= set(await self.redis.smembers(f"relay:serving:{model}"))
            assert not suspended & set(await self.redis.zrange(f"relay:free:{model}", 0, -1))
            for node in suspended:
                assert await condition(self.network, node.decode()) == "suspended"

    async def _check_the_patient(self) -> None:
        """They wait for a node that is busy, or gone; as many as it has slots."""
        wanting: set[bytes] = set()
        for key in await self.redis.keys("relay:wants:*"):
            node, tasks = key.decode().removeprefix("relay:wants:"), await self.redis.zrange(key, 0, -1)
            assert len(tasks) <= 2
            wanting |= set(tasks)
            for task in tasks:
                assert (await self.redis.hget(f"relay:task:{task.decode()}", "wants") or b"").decode() == node
                free = f"relay:free:{self.submitted[task.decode()]}"
                assert await self.redis.zscore(free, node) is None, "a free slot beside who waits for it"
        assert set(await self.redis.zrange("relay:patient", 0, -1)) == wanting

    async def _nobody_waits_for_nothing(self) -> None:
        for model in (MODEL, OTHER):
            waiting = await self.redis.zcard(f"relay:line:{model}")
            free = await self.redis.zrange(f"relay:free:{model}", 0, -1)
            if not waiting or not free:
                continue
            # allowed only while a fresh node lives that is busy, for tasks that the free ones have had
            for task in await self.redis.zrange(f"relay:line:{model}", 0, -1):
                tried = (await self.redis.hget(f"relay:task:{task.decode()}", "tried") or b"").decode()
                assert all(node.decode() in tried for node in free), "a free slot beside a waiting task"

    async def finish(self) -> None:
        """With one healthy node and time, everything that was accepted ends."""
        if not self.submitted:
            return
        for number in (1, 2, 3):
            await self.network.silence(node_address(number))
        await self.network.end_patience()
        for _ in range(4 * len(self.submitted) + 4):
            node = await self.network.sign_in(9, models=(MODEL, OTHER))
            for attempt in await self.network.held(node):
                await self.network.complete(attempt, node)
        for task in self.submitted:
            try:
                assert (await self.network.tasks.read(task)).terminal  # type: ignore[arg-type]
            except TaskNotFound as lost:  # pragma: no cover
                raise AssertionError("an accepted task was lost") from lost
