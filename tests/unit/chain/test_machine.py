"""The law of the chain writer, on fakes; tests/integration/chain tries it with the outbox in a real Redis."""

from __future__ import annotations

from hypothesis import settings

from tests.fakes.chain_benches import Bench, FakeBench
from tests.unit.chain.machine import WriterMachine


class OnFake(WriterMachine):
    def bench(self) -> Bench:
        return FakeBench(remembered=1000)


TestWriterMachine = OnFake.TestCase
TestWriterMachine.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
