"""Follows the NodeRegistry for the API processes, which never talk to the chain: what is staked for which node.

Events say which nodes have changed, the contract's state says what is staked for them now, and both are read as of one
confirmed block. While the chain or the store is down the copy stands still, and nobody loses admission.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Protocol

import structlog

from coordinator.chain.errors import ChainRejected, ChainUnavailable
from coordinator.errors import StoreUnavailable
from coordinator.lifecycle.stake import Registry, Seen, Stake

log = structlog.get_logger(__name__)

# How often the chain is asked: three small requests, and what a provider waits for beside the confirmations.
LOOK_EVERY = timedelta(seconds=2)
# Blocks that are searched again: an endpoint behind a load balancer may lack the newest ones and not say so.
_OVERLAP = 16
# In so many looks running the last block must be missing before the whole chain is read again.
_DOUBTS = 2
# A chain that is young, or another one than the settings were made for.
_NO_BLOCK = "no block is as late as RELAY_NODE_REGISTRY_BLOCK and as deep as RELAY_CONFIRMATIONS"
# Nodes whose stakes are asked for at once: more would keep the chain writer's own requests waiting.
_AT_ONCE = 8


class StakesOnChain(Protocol):
    """The NodeRegistry as of a block. All raise ChainUnavailable and ChainRejected."""

    @property
    def registry(self) -> Registry: ...

    async def close(self) -> None: ...

    async def head(self) -> int: ...

    async def block_hash(self, number: int) -> str | None: ...

    async def touched(self, first: int, last: int) -> set[str]:
        """The nodes that have an event in these blocks, both ends included; none where `last` is before `first`."""

    async def stake_of(self, node: str, block: int) -> Stake: ...


class StakeBook(Protocol):
    """The store's side. Raises StoreUnavailable."""

    async def seen(self) -> Seen | None: ...

    async def put(self, seen: Seen, stakes: Mapping[str, Stake], *, whole: bool = False) -> None: ...


class StakeMirror:
    """`depth`: blocks, its own counted, that an event must be buried in. `first`: no earlier block is searched.

    `pause` waits so many seconds, or until the event.
    """

    def __init__(
        self,
        book: StakeBook,
        open_chain: Callable[[], Awaitable[StakesOnChain]],
        pause: Callable[[float, asyncio.Event], Awaitable[None]],
        *,
        depth: int,
        first: int,
    ) -> None:
        self._book, self._open_chain, self._pause, self._depth, self._first = book, open_chain, pause, depth, first
        self._known: dict[str, Stake] | None = None
        self._doubts = 0
        self._outage = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        chain: StakesOnChain | None = None
        while not stop.is_set():
            try:
                chain = chain or await self._open_chain()
                await self.look(chain)
                self._note(_NO_BLOCK if self._known is None else "")
            except (ChainUnavailable, ChainRejected, StoreUnavailable) as error:
                self._note(str(error))
            await self._pause(LOOK_EVERY.total_seconds(), stop)
        if chain is not None:
            await chain.close()

    async def look(self, chain: StakesOnChain) -> None:
        """Brings the store up to the newest confirmed block.

        Raises ChainUnavailable, ChainRejected, StoreUnavailable.
        """
        number, seen = await chain.head() - self._depth + 1, await self._book.seen()
        if number < self._first:
            return
        if self._known is None or seen is None or seen.registry != chain.registry:
            return await self._read_all(chain, number)
        if await chain.block_hash(seen.block) != seen.block_hash:
            self._doubts += 1
            if self._doubts >= _DOUBTS:
                log.warning("stakes_rewound", block=seen.block, then="every stake is read again")
                await self._read_all(chain, number)
            return
        self._doubts = 0
        if number > seen.block:
            first = max(self._first, seen.block + 1 - _OVERLAP)
            await self._read(chain, await chain.touched(first, number), number)

    async def _read_all(self, chain: StakesOnChain, number: int) -> None:
        nodes = await chain.touched(self._first, number)
        # the search may have taken long, and an endpoint has the states of the newest blocks alone
        newest = max(number, await chain.head() - self._depth + 1)
        nodes |= await chain.touched(number + 1, newest)
        if await self._read(chain, nodes, newest, whole=True):
            log.info("stakes_read", nodes=len(nodes), block=newest, registry=chain.registry.address)

    async def _read(self, chain: StakesOnChain, nodes: Iterable[str], number: int, *, whole: bool = False) -> bool:
        """False when the block left the chain meanwhile: then nothing is stored of what was read."""
        block_hash = await chain.block_hash(number)
        stakes: dict[str, Stake] = {}
        waiting = sorted(nodes)
        for some in (waiting[start : start + _AT_ONCE] for start in range(0, len(waiting), _AT_ONCE)):
            found = await asyncio.gather(*(chain.stake_of(node, number) for node in some))
            stakes.update(zip(some, found, strict=True))
        if block_hash is None or await chain.block_hash(number) != block_hash:
            return False
        await self._book.put(Seen(chain.registry, number, block_hash), stakes, whole=whole)
        self._tell(stakes)
        self._known = stakes if whole else {**(self._known or {}), **stakes}
        self._doubts = 0
        return True

    def _tell(self, stakes: Mapping[str, Stake]) -> None:
        if self._known is None:
            return
        for node, stake in stakes.items():
            if self._known.get(node) != stake:
                unbonds_at = stake.unbonds_at
                log.info("stake_changed", node=node, provider=stake.provider, wei=stake.wei, unbonds_at=unbonds_at)

    def _note(self, outage: str) -> None:
        """Once when it begins, once when it is over."""
        if outage and not self._outage:
            log.warning("stakes_stand_still", why=outage, then="nodes stay admitted as they were; it is tried again")
        elif self._outage and not outage:
            log.info("stakes_followed_again")
        self._outage = outage
