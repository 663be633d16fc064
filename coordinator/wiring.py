"""Where an API process's objects meet; the chain writer's do in `wiring_writer.py`. Nothing else does this."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import structlog
from starlette.types import ASGIApp

from coordinator import catalogue as catalogues
from coordinator.api.answers import webhook_body
from coordinator.api.app import create_app
from coordinator.api.chat import ChatLimits
from coordinator.api.credentials import Origins
from coordinator.api.node_calls import Audience
from coordinator.api.nodes import node_routes
from coordinator.api.webhooks import Webhooks
from coordinator.catalogue import Catalogue, CatalogueError
from coordinator.counting.vocabularies import Vocabularies
from coordinator.counting.vocabulary import VocabularyUnusable
from coordinator.desk import Desk
from coordinator.dispatch.admission import Admission, AllowFile, ByStake, EveryKey
from coordinator.dispatch.sweeper import Sweeper
from coordinator.facts import Facts
from coordinator.lifecycle.flow import Relay
from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.reports import Reports
from coordinator.protocol.conformity import unsupported
from coordinator.settings import Settings
from coordinator.store.acl import BrokerUsers
from coordinator.store.connection import broker_url, connect
from coordinator.store.direct import DirectLine
from coordinator.store.idempotency import IdempotencyClaims
from coordinator.store.inspection import Inspection
from coordinator.store.keybook import KeyBook
from coordinator.store.keyring import KeyRing
from coordinator.store.money import Purse
from coordinator.store.nodes import NodeStore
from coordinator.store.scripts import Scripts
from coordinator.store.signals import Signals
from coordinator.store.space import SpaceReader
from coordinator.store.stakes import Stakes
from coordinator.store.tasks import TaskStore
from coordinator.store.webhooks import WebhookStore
from coordinator.upstream.pool import UpstreamPool
from coordinator.upstream.runner import DirectRunner
from coordinator.webhooks.deliverer import Deliverer
from coordinator.webhooks.resolving import SystemResolver
from coordinator.webhooks.sender import HttpSender
from coordinator.webhooks.signing import new_secret
from coordinator.webhooks.submitting import Targets

log = structlog.get_logger(__name__)

# Asynchronous direct tasks that one API process runs at a time; a synchronous call is bounded by its client instead.
_DIRECT_SLOTS = 64
# How long a cancelled direct task goes on generating, at most.
_DIRECT_LOOK = timedelta(seconds=1)
# Before what failed in the background begins anew.
_PAUSE_S = 1.0
# Between one cancellation of what runs in the background and the next.
_INSIST_S = 0.2


def build_api(settings: Settings) -> ASGIApp:
    """One API process: any number of them may run on one store."""
    policy = settings.policy
    catalogue = catalogues.load(settings.catalogue, os.environ)
    redis = connect(settings.redis_url, settings.redis_ca_file)
    scripts, signals, space = Scripts(redis, policy), Signals(redis), SpaceReader(redis)
    tasks, nodes = TaskStore(redis, scripts, policy), NodeStore(redis, scripts)
    upstreams = UpstreamPool(catalogue.upstreams, unsupported)
    models = [model.name for model in catalogue.offers("opengpu")]
    relay = Relay(tasks, signals, nodes, space, models)
    users = BrokerUsers(redis, broker_url(settings.redis_url, settings.node_redis))
    admission = _admission(settings, Stakes(redis))
    desk = Desk(
        nodes,
        users,
        admission,
        Reports(tasks, space, settings.pay, _vocabularies(settings, catalogue), catalogue.contexts),
        space,
        Facts(space, admission, users.where, models),
        policy,
    )
    renew_every = min(policy.lease / 3, _DIRECT_LOOK)
    runner = DirectRunner(DirectLine(scripts, signals), upstreams, slots=_DIRECT_SLOTS, renew_every=renew_every)
    claims = IdempotencyClaims(scripts, signals)
    private, names, submit_names = settings.webhook_allow_private, SystemResolver(64), SystemResolver(8)
    hooks, sender = WebhookStore(scripts, signals, new_secret), HttpSender(names, allow_private=private)
    deliverer = Deliverer(hooks, tasks, sender, webhook_body)
    sweeper, inspection = Sweeper(tasks, users, policy.sweep_every), Inspection(redis)
    background = (signals.run, claims.run, sweeper.run, runner.run, deliverer.run, inspection.run)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        running = [asyncio.create_task(kept(start)) for start in background]
        tls = settings.tls_cert_file is not None
        log.info("api_starts", host=settings.host, port=settings.port, tls=tls, admits=admission.rule)
        try:
            yield
        finally:
            log.info("api_stops")
            await stop(running)
            await upstreams.close()
            await sender.close()
            names.close()
            submit_names.close()
            await redis.aclose()

    return create_app(
        relay,
        KeyBook(redis, catalogue.tiers),
        claims,
        catalogue,
        upstreams,
        version=version("opengpu-relay"),
        commit=os.environ.get("RELAY_COMMIT", "unknown"),
        origins=Origins(settings.trusted_proxies),
        ring=KeyRing(redis),
        purse=Purse(redis, scripts, _hold_for(policy, catalogue)),
        webhooks=Webhooks(Targets(submit_names, allow_private=private), hooks),
        limits=ChatLimits(body=settings.max_body_bytes, wait=settings.sync_wait),
        lifespan=lifespan,
        hot=node_routes(desk, Audience(settings.public_url)),
    )


async def kept(start: Callable[[], Awaitable[None]]) -> None:
    """Begins it anew when it fails: an API that answers while nobody sweeps would never end what it accepted."""
    while True:
        try:
            return await start()
        except Exception as error:
            # the text of the error may hold a prompt
            where = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            log.error("background_failed", loop=start.__qualname__, error=type(error).__name__, frames=where)
        await asyncio.sleep(_PAUSE_S)


async def stop(running: Collection[asyncio.Task[None]]) -> None:
    """Cancels until they have ended. Once is not enough: on Python 3.11 `asyncio.wait_for`, which redis-py sends its
    commands through, loses a cancellation that comes with the reply (3.12 does not)."""
    left = set(running)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_INSIST_S)
    await asyncio.gather(*running, return_exceptions=True)


def _hold_for(policy: Policy, catalogue: Catalogue) -> timedelta:
    """Longer than any direct call runs without a word, so that none outlives what is set aside for it."""
    waits = [3 * upstream.answer_timeout + upstream.silence_timeout for upstream in catalogue.upstreams]
    return max([policy.task_timeout, *waits])


def _vocabularies(settings: Settings, catalogue: Catalogue) -> Vocabularies:
    try:
        return Vocabularies(catalogue.tokenizers)
    except VocabularyUnusable as error:
        raise CatalogueError(settings.catalogue, [f"[[models]] tokenizer: {error}"]) from None


def _admission(settings: Settings, stakes: Stakes) -> Admission:
    listed = AllowFile(settings.node_allow_file) if settings.node_allow_file else None
    if settings.node_stake_wei is not None:
        return ByStake(settings.node_stake_wei, stakes, listed)
    return listed or EveryKey()
