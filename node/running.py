"""One life of a node, from its first sign-in to its last word: reads like this table.

resume     Reports that an earlier process left on disk are posted
wait       until the backend answers
serve      presence signs in and beats; each grant starts a consumer; Envelopes become attempts, attempts Reports
drain      on SIGTERM: nothing new, hand back, finish, post, leave
give way   when another process takes over with the same key
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterable
from datetime import timedelta

import structlog

from coordinator.protocol.ids import TASK_ID, AttemptId
from coordinator.protocol.session import HeartbeatReply, NoWork, SessionGrant
from node.attempts import Attempts
from node.consumer.supervisor import Supervisor
from node.presence.cleartext import cleartext
from node.presence.presence import Presence, Superseded
from node.results.poster import Poster

log = structlog.get_logger()

DRAINED = 0
FAILED = 1
SUPERSEDED = 3
# Posting what is finished takes milliseconds while the coordinator is up; while it is down, the disk has it.
_SETTLE_LIMIT = timedelta(seconds=5)
_GIVE_WAY_LIMIT = timedelta(seconds=2)


class Switchboard:
    """What presence hears, passed on: implements `node.presence.presence.Listener`."""

    def __init__(self, attempts: Attempts, supervisor: Supervisor) -> None:
        self._attempts = attempts
        self._supervisor = supervisor
        self._warned = self._suspended = False

    def held(self) -> tuple[AttemptId, ...]:
        return self._attempts.held()

    def answering(self) -> tuple[AttemptId, ...]:
        return self._attempts.answering()

    def granted(self, grant: SessionGrant) -> None:
        danger = cleartext(grant.broker.url)
        if danger is not None and not self._warned:
            log.warning(danger)
        self._warned = danger is not None
        self._supervisor.serve(grant.broker)

    def heard(self, reply: HeartbeatReply) -> None:
        self._attempts.cancel(_attempts(reply.cancelled))
        self._supervisor.note_missing(
            [attempt for attempt in _attempts(reply.expected) if not self._attempts.knows(attempt)]
        )
        self._note_trust(reply.no_work is NoWork.SUSPENDED)

    def _note_trust(self, suspended: bool) -> None:
        """One line a change, for the provider: he alone can mend what is wrong here."""
        if suspended and not self._suspended:
            log.warning("suspended by the coordinator: too many attempts went wrong", remedy="python -m node standing")
        elif self._suspended and not suspended:
            log.info("no longer suspended")
        self._suspended = suspended


class Node:
    """`run` once."""

    def __init__(self, attempts: Attempts, poster: Poster, presence: Presence, supervisor: Supervisor) -> None:
        self._attempts = attempts
        self._poster = poster
        self._presence = presence
        self._supervisor = supervisor

    async def run(self, stop: asyncio.Event, drain_limit: timedelta) -> int:
        """The process's exit code: 0 after `stop` and a drain, 3 when another process took over."""
        serving = asyncio.create_task(self._presence.run())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                return await self._give_way(serving)
            return await self._drain(serving, drain_limit)
        finally:
            self._supervisor.stop()
            for task in (serving, stopping):
                task.cancel()
            await asyncio.gather(serving, stopping, return_exceptions=True)

    async def _drain(self, serving: asyncio.Task[None], limit: timedelta) -> int:
        log.info("draining", held=len(self._attempts.held()))
        self._presence.drain()
        draining = asyncio.create_task(self._attempts.drain(limit))
        await asyncio.wait({draining, serving}, return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)
            return await self._give_way(serving)
        await draining
        await self._poster.settle(_SETTLE_LIMIT)
        self._supervisor.stop()  # before the coordinator takes its user away
        if not serving.done():
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await self._presence.leave()
        log.info("left")
        return DRAINED

    async def _give_way(self, serving: asyncio.Task[None]) -> int:
        """What runs here would run unleased: it is handed back at once. What is finished may still be taken."""
        code, why = SUPERSEDED, "another process took over"
        try:
            await serving
        except Superseded:
            log.error("another process signed in with this node's key: this one ends", exit_code=SUPERSEDED)
        except Exception as error:  # a bug of the node's own; the error's text may hold anything
            code, why = FAILED, "the node failed"
            log.error(
                "the node failed: it ends", error=type(error).__name__, at=traceback.format_tb(error.__traceback__)
            )
        self._supervisor.stop()
        await self._attempts.give_up(why)
        await self._poster.settle(_GIVE_WAY_LIMIT)
        return code


def _attempts(named: Iterable[str]) -> list[AttemptId]:
    """Those that can be attempts at all: a reply is a stranger's word too."""
    return [AttemptId(name) for name in named if _is_attempt(*name.rpartition("#")[::2])]


def _is_attempt(task_id: str, number: str) -> bool:
    return TASK_ID.fullmatch(task_id) is not None and number.isdecimal() and len(number) < 10 and int(number) > 0
