"""A chain, fake or real, with what a test does to it from outside: one face for both."""

from __future__ import annotations

from typing import Protocol

from coordinator.chain.ports import Chain, Signer
from coordinator.protocol.hashing import TaskSpace
from tests.fakes.chain import SPACE, FakeChain, FakeSigner


class Network(Protocol):
    chain: Chain
    signer: Signer
    space: TaskSpace

    async def automine(self, on: bool) -> None: ...

    async def mine(self) -> None: ...

    async def reorganise(self, depth: int) -> None:
        """The newest blocks are replaced by empty ones."""

    async def pay_in(self, wei: int) -> None:
        """Brings the deposit up to that."""


class FakeNetwork:
    def __init__(self) -> None:
        self.chain, self.signer, self.space = FakeChain(), FakeSigner(), SPACE
        self.chain.state.deposit = 0

    async def automine(self, on: bool) -> None:
        self.chain.automine = on

    async def mine(self) -> None:
        self.chain.mine()
        self.chain.mine_empty()

    async def reorganise(self, depth: int) -> None:
        self.chain.reorganise(depth, forget=True)

    async def pay_in(self, wei: int) -> None:
        self.chain.state.deposit = wei
