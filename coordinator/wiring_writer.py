"""Where the chain writer's objects meet. Apart from `wiring.py`: importing web3 would cost an API process a second."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from coordinator.chain import writer
from coordinator.chain.policy import SendingPolicy, WriterPolicy
from coordinator.chain.writer import ChainWriter
from coordinator.settings import Settings, SettingsWrong
from coordinator.store import space as space_store
from coordinator.store.connection import connect
from coordinator.store.outbox import RedisOutbox


def build_chain_writer(settings: Settings) -> ChainWriter:
    """The one process that has the chain key and talks to the chain. Raises SettingsWrong."""
    needed = {"CHAIN_KEY_FILE": settings.chain_key_file, "TASK_REGISTRY": settings.task_registry}
    missing = [f"  RELAY_{name}: the chain writer needs it" for name, value in needed.items() if value is None]
    if settings.chain_key_file is None or settings.task_registry is None:
        raise SettingsWrong("These settings are missing:\n" + "\n".join(missing))
    redis = connect(settings.redis_url)
    return writer.build(
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
        publish=partial(space_store.publish, redis, node_registry=settings.node_registry),
    )
