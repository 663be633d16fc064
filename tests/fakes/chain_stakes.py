"""A NodeRegistry in memory, for `chain.stakes`: blocks, events, states, reorganisations."""

from __future__ import annotations

from dataclasses import dataclass, field

from coordinator.chain.errors import ChainUnavailable
from coordinator.lifecycle.stake import Registry, Stake

REGISTRY = Registry(31337, "0x" + "5e" * 20, min_stake_wei=100, unbonding_seconds=60)


@dataclass
class Block:
    hash: str
    touched: set[str]
    stakes: dict[str, Stake]


@dataclass
class FakeStakes:
    """Implements `StakesOnChain`. `asked`: for whose stake, in order; `searched`: the ranges of blocks."""

    registry: Registry = REGISTRY
    blocks: list[Block] = field(default_factory=lambda: [Block("0:0", set(), {})])
    fork: int = 0
    down: bool = False
    closed: bool = False
    asked: list[str] = field(default_factory=list)
    searched: list[tuple[int, int]] = field(default_factory=list)

    def stake(self, node: str, stake: Stake) -> None:
        """In a block of its own."""
        self.blocks.append(Block(self._hash(), {node}, {**self.blocks[-1].stakes, node: stake}))

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.blocks.append(Block(self._hash(), set(), self.blocks[-1].stakes))

    def reorganise(self, depth: int) -> None:
        """As many blocks are replaced by empty ones."""
        del self.blocks[-depth:]
        self.fork += 1
        self.mine(depth)

    async def close(self) -> None:
        self.closed = True

    async def head(self) -> int:
        self._reach()
        return len(self.blocks) - 1

    async def block_hash(self, number: int) -> str | None:
        self._reach()
        return self.blocks[number].hash if number < len(self.blocks) else None

    async def touched(self, first: int, last: int) -> set[str]:
        self._reach()
        if first > last:
            return set()
        self.searched.append((first, last))
        return set().union(*(block.touched for block in self.blocks[first : last + 1]))

    async def stake_of(self, node: str, block: int) -> Stake:
        self._reach()
        self.asked.append(node)
        return self.blocks[block].stakes[node]

    def _hash(self) -> str:
        return f"{len(self.blocks)}:{self.fork}"

    def _reach(self) -> None:
        if self.down:
            raise ChainUnavailable("it is down")
