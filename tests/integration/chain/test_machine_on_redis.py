"""The law of the chain writer with the outbox in a real Redis, emptied for every example; the chain stays a fake."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from pydantic import SecretStr

from coordinator.store.connection import connect
from tests.fakes.chain_benches import Bench, RedisBench
from tests.parts.servers import RedisServer
from tests.unit.chain.machine import WriterMachine


def test_the_law_on_real_redis(redis_server: RedisServer) -> None:
    class OnRedis(WriterMachine):
        async def new_bench(self) -> Bench:
            self.redis = connect(SecretStr(redis_server.url))
            await self.redis.flushall()
            return RedisBench(self.redis, remembered=1000)

        def teardown(self) -> None:
            self.run(self.finish())
            self.run(self.redis.aclose())
            self.runner.close()

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        OnRedis,
        settings=settings(
            max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
