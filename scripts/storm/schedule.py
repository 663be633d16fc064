"""What strikes when and whom: a pure function of seed, length, nodes and faults.

A round holds every fault once, in an order of its own, evenly spaced; before and after it nothing is wrong, so that
there is something to compare with. Nodes have parts: the first ones have faulty backends, the next ones are killed and
frozen, the last ones are left alone, for a network in which nobody works is one that nothing can be asked of.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.storm.faults import FAULTS, Fault, Kind

ROUND = 60.0  # seconds; a shorter storm is one round
CALM_BEFORE, CALM_AFTER = 0.15, 0.15  # shares of a round
LONG = 10.0  # seconds: a fault that lasts so long comes early in its round, so that its end lies within
# A backend that fails nearly always is suspended, and nothing more is seen of it: most fail now and then.
SOMETIMES, ALWAYS = 0.4, 1.0


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault. `at`, `seconds`: of the storm. `node`: the number of the node that is struck (from 1), 0 for none.

    `share`: of the requests that a backend spoils. `turn`: how many of this fault came before.
    """

    number: int
    fault: Fault
    at: float
    seconds: float
    node: int = 0
    share: float = ALWAYS
    turn: int = 0

    @property
    def until(self) -> float:
        return self.at + self.seconds


@dataclass(frozen=True, slots=True)
class Parts:
    """Numbers of nodes by what may befall them; see the head of the file."""

    unlucky: tuple[int, ...]
    mortal: tuple[int, ...]
    sound: tuple[int, ...]

    @classmethod
    def of(cls, nodes: int) -> Parts:
        """Of three nodes or more: one of each kind at least, a quarter of them sound."""
        if nodes < 3:
            raise ValueError("a storm needs three nodes: one to fail, one to die, and one to work meanwhile")
        sound = max(1, nodes // 4)
        mortal = max(1, (nodes - sound) // 2)
        numbers = tuple(range(1, nodes + 1))
        unlucky = nodes - sound - mortal
        return cls(numbers[:unlucky], numbers[unlucky : unlucky + mortal], numbers[unlucky + mortal :])


def schedule(seed: int, seconds: float, nodes: int, names: Sequence[str]) -> tuple[Strike, ...]:
    """The strikes in the order of their times. The same arguments, the same storm."""
    rng, parts, planned = random.Random(f"storm {seed}"), Parts.of(nodes), _Planned()
    rounds = max(1, round(seconds / ROUND))
    length = seconds / rounds
    for number in range(rounds):
        first = number * length + CALM_BEFORE * length
        last = (number + 1) * length - CALM_AFTER * length
        order = _order(rng, [FAULTS[name] for name in names])
        gap = (last - first) / max(1, len(order))
        for place, fault in enumerate(order):
            at = first + gap * (place + rng.random() / 2)
            planned.add(rng, parts, fault, round(at, 2), end=(number + 1) * length)
    return tuple(sorted(planned.strikes, key=lambda strike: strike.at))


def _order(rng: random.Random, faults: list[Fault]) -> list[Fault]:
    """At random, the long ones within the first half."""
    long = [fault for fault in faults if fault.seconds >= LONG]
    short = [fault for fault in faults if fault.seconds < LONG]
    rng.shuffle(short)
    early = long + short[: max(0, len(faults) // 2 - len(long))]
    rng.shuffle(early)
    return early + [fault for fault in short if fault not in early]


class _Planned:
    """What is planned so far, for what follows from it: who is free, and the how-manieth time it is."""

    def __init__(self) -> None:
        self.strikes: list[Strike] = []
        self._busy_until: dict[int, float] = {}
        self._turns: dict[str, int] = {}

    def add(self, rng: random.Random, parts: Parts, fault: Fault, at: float, end: float) -> None:
        turn = self._turns[fault.name] = self._turns.get(fault.name, -1) + 1
        node, share = 0, ALWAYS
        if fault.kind is Kind.BACKEND:
            node, share = self._free(parts.unlucky, at), ALWAYS if rng.random() < 1 / 3 else SOMETIMES
        elif fault.kind is Kind.PROCESS:
            node = self._free(parts.mortal, at)
            at = max(at, self._busy_until.get(node, 0.0))  # a frozen process can't be told to drain
        seconds = round(min(fault.seconds, max(0.0, end - at)), 2)
        if node:
            self._busy_until[node] = max(at, self._busy_until.get(node, 0.0)) + seconds
        self.strikes.append(Strike(len(self.strikes), fault, at, seconds, node, share, turn))

    def _free(self, nodes: tuple[int, ...], at: float) -> int:
        """One that nothing befalls at the time, or the one that is free again first."""
        return min(nodes, key=lambda node: (max(at, self._busy_until.get(node, 0.0)), self._busy_until.get(node, 0.0)))
