"""Law: in no window does a caller get more than the limit and one more for each interval that the window is long,
however many processes he asks; and what is refused passes once the time that was told is over.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from hypothesis import strategies as st
from redis.asyncio import Redis

from coordinator.errors import RateLimited
from coordinator.lifecycle.caller import Credential
from coordinator.lifecycle.order import Mode
from coordinator.lifecycle.tiers import DEFAULT_TIERS, TierLimits, default_tiers
from coordinator.store.keybook import KeyBook

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Limits:
    direct: int
    opengpu: int
    overall: int

    def book(self, redis: Redis) -> KeyBook:
        rates = {"direct": self.direct, "opengpu": self.opengpu, "global": self.overall}
        guest = TierLimits.model_validate({**DEFAULT_TIERS["guest"], **rates})
        return KeyBook(redis, {**default_tiers(), "guest": guest})


@dataclass(frozen=True)
class Asking:
    """One request to one of two processes; a patient one waits as long as it is told when it is refused."""

    process: int
    mode: Mode
    patient: bool


Step = Asking | timedelta
_RATE = st.integers(1, 12)
LIMITS = st.builds(Limits, _RATE, _RATE, _RATE)
_ASKING = st.builds(Asking, st.integers(0, 1), st.sampled_from(["direct", "opengpu"]), st.booleans())
_WAIT = st.integers(0, 70_000_000).map(lambda microseconds: timedelta(microseconds=microseconds))
STEPS = st.lists(st.one_of(_ASKING, _ASKING, _ASKING, _WAIT), max_size=40)


@dataclass
class Trial:
    """Time passes when it is told to: that is, what the store remembers of the caller becomes that much older."""

    redis: Redis
    limits: Limits
    caller: Credential
    passed: timedelta = timedelta()
    admitted: dict[str, list[tuple[timedelta, timedelta]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.books = [self.limits.book(self.redis) for _ in range(2)]

    def now(self) -> timedelta:
        return self.passed + timedelta(microseconds=time.time_ns() // 1000)

    async def wait(self, span: timedelta) -> None:
        self.passed += span
        name = f"relay:tat:guest:{self.caller.address}"
        for bucket in await self.redis.hkeys(name):
            await self.redis.hincrby(name, bucket, -(span // timedelta(microseconds=1)))

    async def ask(self, asking: Asking) -> None:
        try:
            await self._try(asking)
        except RateLimited as error:
            told = error.retry_after or timedelta()
        else:
            return
        assert timedelta() < told <= MINUTE
        if asking.patient:
            await self.wait(told)
            await self._try(asking)

    async def _try(self, asking: Asking) -> None:
        before = self.now()
        scopes: dict[Mode, str] = {asking.mode: "x"}
        allowance = (await self.books[asking.process].admit(self.caller, scopes)).allowance
        assert 0 <= allowance.remaining < allowance.limit
        assert timedelta() < allowance.reset <= MINUTE
        for bucket in (asking.mode, "overall"):
            self.admitted.setdefault(bucket, []).append((before, self.now()))

    def check(self) -> None:
        for bucket, spans in self.admitted.items():
            limit: int = getattr(self.limits, bucket)
            for first, (since, _) in enumerate(spans):
                for last in range(first, len(spans)):
                    window = spans[last][1] - since
                    assert last - first + 1 <= limit + window * limit / MINUTE, (bucket, limit, window)


async def run(redis: Redis, limits: Limits, steps: Sequence[Step], caller: Credential) -> None:
    trial = Trial(redis, limits, caller)
    for step in steps:
        await (trial.wait(step) if isinstance(step, timedelta) else trial.ask(step))
    trial.check()
