"""Where the chain writer's objects meet. Apart from `wiring.py`: importing web3 would cost an API process a second."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from coordinator.chain import writer
from coordinator.chain.evm_stakes import EvmStakes
from coordinator.chain.policy import SendingPolicy, WriterPolicy
from coordinator.chain.stakes import StakeMirror
from coordinator.chain.writer import ChainWriter, sleep_unless
from coordinator.protocol.hashing import TaskSpace
from coordinator.settings import Settings, SettingsWrong
from coordinator.store import space as space_store
from coordinator.store.connection import connect
from coordinator.store.outbox import RedisOutbox
from coordinator.store.stakes import Stakes

log = structlog.get_logger(__name__)


@dataclass
class Beside:
    """Follows the stakes while the writer writes. It has a connection of its own, and its end is not the writer's."""

    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    def begin(self, mirror: StakeMirror) -> None:
        if self._task is None:
            self._task = asyncio.create_task(mirror.run(self._stop))
            self._task.add_done_callback(_tell_the_end)

    async def end(self) -> None:
        self._stop.set()
        if self._task is not None:
            # what waits for an answer of the chain is not worth waiting for: nothing is lost by dropping it
            await asyncio.wait({self._task}, timeout=0.5)
            self._task.cancel()


@dataclass
class ChainProcess:
    """All that the one process beside the API's does."""

    writer: ChainWriter
    beside: Beside

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises what the writer raises."""
        try:
            await self.writer.run(stop)
        finally:
            await self.beside.end()


def build_chain_writer(settings: Settings) -> ChainProcess:
    """The one process that has the chain key and talks to the chain. Raises SettingsWrong."""
    needed = {"CHAIN_KEY_FILE": settings.chain_key_file, "TASK_REGISTRY": settings.task_registry}
    missing = [f"  RELAY_{name}: the chain writer needs it" for name, value in needed.items() if value is None]
    if settings.chain_key_file is None or settings.task_registry is None:
        raise SettingsWrong("These settings are missing:\n" + "\n".join(missing))
    redis, beside = connect(settings.redis_url, settings.redis_ca_file), Beside()

    async def publish(space: TaskSpace, node_registry: str) -> None:
        await space_store.publish(redis, space, node_registry)
        if settings.node_stake_wei is not None:
            beside.begin(_mirror(settings, Stakes(redis), space.chain_id, node_registry))

    return ChainProcess(
        writer.build(
            RedisOutbox(redis),
            rpc_url=settings.rpc_url,
            key_file=settings.chain_key_file,
            task_registry=settings.task_registry,
            node_registry=settings.node_registry,
            chain_id=settings.chain_id,
            policy=WriterPolicy(
                confirmations=settings.confirmations,
                batch_wait=timedelta(milliseconds=settings.batch_wait_ms),
                sending=SendingPolicy(batch_size=settings.batch_size),
            ),
            publish=publish,
        ),
        beside,
    )


def _mirror(settings: Settings, book: Stakes, chain_id: int, node_registry: str) -> StakeMirror:
    async def open_chain() -> EvmStakes:
        return await EvmStakes.open(settings.rpc_url, chain_id, node_registry)

    return StakeMirror(book, open_chain, sleep_unless, depth=settings.confirmations, first=settings.node_registry_block)


def _tell_the_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("stakes_no_longer_followed", why=repr(error), remedy="restart the chain writer, and report this")
