"""What anybody may know of this coordinator before joining: settings, and what the chain writer left in the store."""

from __future__ import annotations

import time
from collections.abc import Iterable

from coordinator.dispatch.admission import Admission
from coordinator.protocol.session import Network
from coordinator.store.space import SpaceReader


class Facts:
    """`broker`: redis:// or rediss:// with host and port, as nodes reach it. `models`: what clients can ask nodes for.

    `network` costs no round trip once the chain writer has started: anybody may ask as often as he likes.
    """

    def __init__(self, space: SpaceReader, admission: Admission, broker: str, models: Iterable[str]) -> None:
        self._space, self._admission, self._broker, self._models = space, admission, broker, tuple(sorted(models))

    async def network(self) -> Network:
        """Raises StoreUnavailable."""
        space = await self._space.current()
        return Network(
            chain_id=space.chain_id if space else None,
            task_registry=space.task_registry if space else None,
            node_registry=await self._space.node_registry() if space else None,
            admission=self._admission.rule,
            stake_wei=self._admission.stake_wei,
            broker=self._broker,
            models=self._models,
            now_ms=round(time.time() * 1000),
        )
