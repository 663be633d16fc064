"""Where the node's objects meet."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version

import structlog

from coordinator.protocol.conformity import EMBEDDED
from node.attempts import Attempts
from node.consumer.supervisor import Supervisor
from node.consumer.worker import CeleryWorker
from node.identity import Identity
from node.inference.backend import Backend, BackendAddress, HttpBackend, backend_session
from node.inference.run import Inference
from node.inference.watch import WatchedBackend
from node.presence.cleartext import cleartext
from node.presence.hardware import hardware
from node.presence.line import SignedLine, line_transport
from node.presence.presence import Offer, Presence
from node.results.outbox import Outbox
from node.results.poster import Poster
from node.results.report import Performer
from node.running import DRAINED, Node, Switchboard
from node.settings import Settings

log = structlog.get_logger()

_PROBE_PAUSE = timedelta(seconds=1)
# Beside the Reports of all slots, a heartbeat must find a connection.
_SPARE_CONNECTIONS = 4
_MOST_CONNECTIONS = 64


async def serve(settings: Settings, identity: Identity) -> int:
    """Runs the node until it is told to stop; returns the exit code."""
    stop = asyncio.Event()
    _on_signals(stop)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(_engine(settings, stop))
        if engine is None:
            return DRAINED
        node = await stack.enter_async_context(_node(settings, identity, engine))
        return await node.run(stop, settings.drain_limit)


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs requests."""

    inference: Inference
    backend: WatchedBackend


@asynccontextmanager
async def _engine(settings: Settings, stop: asyncio.Event) -> AsyncIterator[Engine | None]:
    """None when the node was stopped before its backend answered."""
    async with AsyncExitStack() as stack:
        kind = None
        if settings.backend_url is None:
            # imported here: llama.cpp is 100 MB that a node with a backend of its own has no use for
            from node.inference.embedded import EmbeddedServer

            server = stack.enter_context(EmbeddedServer(next(iter(settings.served.values())), settings.slots))
            address, kind = BackendAddress(server.url), EMBEDDED
        else:
            address = BackendAddress(settings.backend_url, settings.api_key())
        session = await stack.enter_async_context(backend_session(settings.slots))
        backend = WatchedBackend(HttpBackend(session, address, settings.silence))
        stack.push_async_callback(backend.close)
        kind = kind or await _kind_once_up(backend, address, stop)
        if kind is None:
            yield None
        else:
            _announce(settings, address, kind)
            yield Engine(Inference(backend, settings.served, settings.request_timeout, kind), backend)


async def _kind_once_up(backend: Backend, address: BackendAddress, stop: asyncio.Event) -> str | None:
    """A node without a backend would only fail what it is given, so it signs in once there is one."""
    waited = False
    while not stop.is_set():
        if (kind := await backend.kind()) is not None:
            return kind
        if not waited:
            log.warning("the backend does not answer, waiting for it", backend=address.base)
        waited = True
        try:
            async with asyncio.timeout(_PROBE_PAUSE.total_seconds()):
                await stop.wait()
        except TimeoutError:
            continue
    return None


@asynccontextmanager
async def _node(settings: Settings, identity: Identity, engine: Engine) -> AsyncIterator[Node]:
    loop = asyncio.get_running_loop()
    connections = min(settings.slots + _SPARE_CONNECTIONS, _MOST_CONNECTIONS)
    line = SignedLine(settings.coordinator_url, identity, line_transport(connections, settings.ca_file))
    poster = Poster(line, Outbox(settings.state, identity.address))
    performer = Performer(identity, engine.inference.run, lambda: presence.grant)
    attempts = Attempts(settings.slots, performer, poster, lambda: presence.beat())
    supervisor = Supervisor(
        start_worker=lambda credential, events: CeleryWorker(credential, events, loop, ca_file=settings.ca_file),
        deliver=attempts.deliver,
        renew=lambda reason: presence.renew(reason),
        hand_back=lambda attempt: attempts.hand_back(attempt, "its Envelope never arrived"),
        beat=lambda: presence.beat(),
    )
    offer = Offer(
        node=identity.address,
        models=tuple(settings.served),
        slots=settings.slots,
        version=version("opengpu-relay"),
        hardware=await asyncio.to_thread(hardware),
    )
    presence = Presence(line, offer, Switchboard(attempts, supervisor))
    engine.backend.on_change = presence.pause
    await poster.resume()
    try:
        yield Node(attempts, poster, presence, supervisor)
    finally:
        await line.close()


def _announce(settings: Settings, address: BackendAddress, kind: str) -> None:
    backend = "embedded llama.cpp" if kind == EMBEDDED else f"{kind or 'backend'} at {address.base}"
    models = ", ".join(settings.served)
    log.info(
        f"node serves {models} with {settings.slots} slots on {backend} for {settings.coordinator_url}",
        models=list(settings.served),
        slots=settings.slots,
        backend=backend,
        coordinator=settings.coordinator_url,
    )
    if (danger := cleartext(settings.coordinator_url)) is not None:
        log.warning(danger)


def _on_signals(stop: asyncio.Event) -> None:
    """The first signal drains, the second ends the process at once."""
    loop = asyncio.get_running_loop()

    def received(number: signal.Signals) -> None:
        if stop.is_set():
            log.warning("stopped at once, on a second signal")
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received, number)
