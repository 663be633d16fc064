"""First tokens and the heartbeats that tell of them, with time moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from coordinator.protocol.ids import AttemptId
from node.answering import Answering


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time stands still until `pass_by`."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        """In steps of 10 ms, as far as timers are concerned."""
        until = self.now + seconds
        while self.now < until - 1e-9:
            self.now += 0.01
            self.run_until_complete(asyncio.sleep(0))
            self.run_until_complete(asyncio.sleep(0))


class Bench:
    """Listens for beats; each lists what is held, as the node's do."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.beats: list[float] = []
        self.held: set[AttemptId] = set()
        self.answering = Answering(self._beat)

    def _beat(self) -> None:
        self.beats.append(round(self.clock.now, 2))
        self.listed()

    def listed(self) -> set[AttemptId]:
        return set(self.answering.begun(self.held))

    def begin(self, *numbers: int) -> None:
        for number in numbers:
            self.held.add(attempt(number))
            self._inside(self.answering.heard, attempt(number))

    def _inside(self, call: Callable[..., Any], *arguments: Any) -> None:
        async def run() -> None:
            call(*arguments)

        self.clock.run_until_complete(run())


def attempt(number: int) -> AttemptId:
    return AttemptId(f"opengpu:x#{number}")


@pytest.fixture
def bench() -> Iterator[Bench]:
    clock = Clock()
    yield Bench(clock)
    clock.close()


def test_a_first_token_is_told_a_quarter_of_a_second_later(bench: Bench) -> None:
    bench.begin(1)
    bench.clock.pass_by(0.2)
    assert bench.beats == []
    bench.clock.pass_by(2)
    assert bench.beats == [pytest.approx(0.25, abs=0.02)]
    assert bench.listed() == {attempt(1)}


def test_an_answer_that_is_over_by_then_costs_no_beat(bench: Bench) -> None:
    bench.begin(1, 2)
    bench.answering.answered(attempt(1))
    bench.answering.forget(attempt(2))
    bench.clock.pass_by(2)
    assert bench.beats == []
    assert bench.listed() == {attempt(1)}  # its Report is not taken yet
    bench.held.clear()
    assert bench.listed() == set()


def test_a_token_that_a_regular_heartbeat_told_costs_none_either(bench: Bench) -> None:
    bench.begin(1)
    assert bench.listed() == {attempt(1)}
    bench.clock.pass_by(2)
    assert bench.beats == []


def test_at_most_four_more_beats_a_second_however_many_attempts(bench: Bench) -> None:
    for number in range(500):
        bench.begin(number)
        bench.clock.pass_by(0.01)
    assert len(bench.beats) <= 20
    bench.clock.pass_by(0.5)
    assert bench.listed() == {attempt(number) for number in range(500)}
    first_told = bench.beats[0]
    assert first_told == pytest.approx(0.25, abs=0.02)
    assert bench.beats[-1] >= 5.0


def test_a_second_token_long_after_the_first_is_told_as_soon(bench: Bench) -> None:
    bench.begin(1)
    bench.clock.pass_by(3)
    bench.begin(2)
    bench.clock.pass_by(3)
    assert bench.beats == [pytest.approx(0.25, abs=0.02), pytest.approx(3.25, abs=0.02)]
