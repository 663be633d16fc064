"""The chain writer: one loop, one signer. Everything it knows it can read back from the store and the chain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import structlog

from coordinator.chain.errors import ChainRejected, ChainUnavailable
from coordinator.chain.evm import EvmChain
from coordinator.chain.policy import WriterPolicy
from coordinator.chain.ports import Chain, Outbox, Signer
from coordinator.chain.registry import TaskRegistry
from coordinator.chain.rounds import Rounds
from coordinator.chain.rpc import connect, disconnect
from coordinator.chain.signer import RegistrySigner, read_key
from coordinator.chain.start_check import Expected, start_check
from coordinator.errors import StoreUnavailable
from coordinator.protocol.hashing import TaskSpace

log = structlog.get_logger(__name__)
Result = TypeVar("Result")

_OUTAGES = (StoreUnavailable, ChainUnavailable, ChainRejected)
_BACKOFF_FIRST, _BACKOFF_MOST = 0.2, 5.0


class ChainWriter:
    """`open_chain` connects and runs the start check; it is tried until it succeeds or raises StartRefused.

    `clock`: unix seconds; `pause`: waits so many seconds, or until the event.
    """

    def __init__(
        self,
        outbox: Outbox,
        open_chain: Callable[[], Awaitable[tuple[Chain, Signer]]],
        policy: WriterPolicy,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float, asyncio.Event], Awaitable[None]] | None = None,
    ) -> None:
        self._outbox, self._open_chain, self._policy, self._clock = outbox, open_chain, policy, clock
        self._pause = pause or sleep_unless
        self._outage: str | None = None
        self._backoff = _BACKOFF_FIRST

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises StartRefused, and Superseded when a newer writer has taken over."""
        opened = await self._insist(self._open_chain, stop)
        if opened is None:
            return
        chain, signer = opened
        try:
            await self._insist(self._outbox.take_over, stop)
            log.info("chain_writer_started", account=signer.address)
            rounds = Rounds(chain, signer, self._outbox, self._policy, self._clock)
            while not stop.is_set():
                await self._insist(rounds.round, stop)
                await self._pause(rounds.idle_for(), stop)
        finally:
            await chain.close()

    async def _insist(self, step: Callable[[], Awaitable[Result]], stop: asyncio.Event) -> Result | None:
        """Tries until it works; None when `stop` came first. Says once that something is down, once that it is back."""
        while not stop.is_set():
            try:
                result = await step()
            except _OUTAGES as error:
                self._note_outage(error)
                await self._pause(self._backoff, stop)
                self._backoff = min(2 * self._backoff, _BACKOFF_MOST)
            else:
                self._note_recovery()
                return result
        return None

    def _note_outage(self, error: Exception) -> None:
        what = "store" if isinstance(error, StoreUnavailable) else "chain"
        if self._outage != what:
            self._outage = what
            log.error(f"{what}_unavailable", why=str(error), then="the chain writer waits and goes on by itself")

    def _note_recovery(self) -> None:
        self._backoff = _BACKOFF_FIRST
        if self._outage is not None:
            log.info(f"{self._outage}_available")
            self._outage = None


async def sleep_unless(seconds: float, stop: asyncio.Event) -> None:
    """Until the time is up or `stop` is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), max(seconds, 0.0))


def build(
    outbox: Outbox,
    *,
    rpc_url: str,
    key_file: Path,
    task_registry: str,
    node_registry: str | None,
    chain_id: int | None,
    policy: WriterPolicy,
    publish: Callable[[TaskSpace, str], Awaitable[None]],
) -> ChainWriter:
    """`publish` tells API processes where tasks live and nodes register, once that is checked.

    Raises StartRefused when the key can't be read.
    """
    account = read_key(key_file)
    expected = Expected(task_registry, str(account.address), node_registry, chain_id)

    async def open_chain() -> tuple[Chain, Signer]:
        w3 = connect(rpc_url)
        try:
            space = await start_check(w3, expected)
            await publish(space, await TaskRegistry(w3, space.task_registry).node_registry())
        except BaseException:
            await disconnect(w3)
            raise
        chain = EvmChain(w3, space, lambda: start_check(w3, expected))
        return chain, RegistrySigner(account, space.chain_id, space.task_registry)

    return ChainWriter(outbox, open_chain, policy)
